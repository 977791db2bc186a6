"""Copies of a worker that handle what a model wrote, one call at a time.

A copy has one descriptor, to the worker; the worker alone holds the channel to the run. So code that took
over a copy could answer for the text that is being scored in it and for those that it scores later, for no
other. A text that has to be *evaluated* is therefore scored in a copy of its own that ends with it. A copy
that hangs or dies costs its call; the next copy starts with everything already imported.
"""

import contextlib
import gc
import math
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from oneloop.core.text import words_of
from oneloop.judge.isolation import seccomp
from oneloop.judge.isolation.messages import BadMessage, pack, receive, send
from oneloop.judge.isolation.system import LINUX, PR_SET_PDEATHSIG, prctl

LARGEST = 2**14
"""Bytes of an answer."""
Scored = Callable[[Any, bool], tuple[float | None, str | None]]
"""A scorer: (argument, whether this copy is for it alone) -> (score or None, remark). Raises OwnProcess."""


class OwnProcess(Exception):
    """This argument has to be evaluated, so it wants a copy for itself alone."""


class Copies:
    """Calls `function` in copies of this process; the function never runs in this process itself.

    Its `prepare`, if it has one, is called once, before the first argument that gets a copy for itself: what
    it loads and caches, those copies start with.
    """

    def __init__(self, function: Scored, memory_mb: int, memory: int | None, filtered: bool):
        """`memory`: bytes of address space a copy may have, which is `memory_mb` more than it starts with."""
        self._setting = (function, memory_mb, memory, filtered)
        self._shared: _Copy | None = None
        self._prepare: Callable[[], None] | None = getattr(function, "prepare", None)
        _freeze()

    def __call__(self, argument: Any, seconds: float) -> dict[str, Any]:
        """{value: (score or None, remark or None)} or {error}."""
        if self._shared is None:
            self._shared = _Copy(*self._setting)
        answer = self._shared.ask((argument, False), seconds)
        if not self._shared.alive:
            self._shared = None
        if answer != {"own_process": True}:
            return answer
        if self._prepare is not None:
            self._prepare()
            self._prepare = None
            _freeze()
        alone = _Copy(*self._setting)
        try:
            return alone.ask((argument, True), seconds)
        finally:
            alone.end()


def _freeze() -> None:
    gc.collect()
    gc.freeze()  # a collection in a copy would write to, and so duplicate, every page


class _Copy:
    """One copy of this process, at the other end of a socket."""

    def __init__(self, function: Scored, memory_mb: int, memory: int | None, filtered: bool):
        self._socket, other = socket.socketpair()
        worker = os.getpid()
        self._number = os.fork()
        if not self._number:
            _serve(worker, other.detach(), function, memory_mb, memory, filtered)
        other.close()
        self.alive = True

    def ask(self, message: Any, seconds: float) -> dict[str, Any]:
        """What the copy says of one call, or what became of it."""
        deadline = time.monotonic() + seconds
        try:
            send(self._socket, pack(message), deadline)
            answer = receive(self._socket, deadline, LARGEST)
            if answer is not None:
                return _checked(answer)
            error = f"the process ended ({self._ended()})"
        except TimeoutError:
            error = f"timed out after {seconds:g} s"
        except OSError:
            error = f"the process ended ({self._ended()})"
        except BadMessage as bad:
            error = f"no score came back: {bad}"
        self.end()
        return {"error": error}

    def end(self) -> None:
        """Kills the copy."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._number, signal.SIGKILL)
            os.waitpid(self._number, 0)
            self._socket.close()
            self.alive = False

    def _ended(self) -> str:
        _, status = os.waitpid(self._number, 0)
        self.alive = False
        self._socket.close()
        code = os.waitstatus_to_exitcode(status)
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _checked(answer: Any) -> dict[str, Any]:
    """`answer` if it is one a scorer can give. Raises BadMessage."""
    match answer:
        case {"own_process": True, **rest} if not rest:
            return {"own_process": True}
        case {"error": str(error), **rest} if not rest:
            return {"error": error[:1000]}
        case {"value": (None | int() | float() as score, None | str() as remark), **rest} if not rest:
            if score is None or (not isinstance(score, bool) and 0 <= score <= 1):
                return {"value": (score, remark and remark[:200])}
            if isinstance(score, bool) or not math.isfinite(score):
                raise BadMessage(f"the score {score}")
            return {"error": f"the scorer returned {score:g}, which is not between 0 and 1"}
    raise BadMessage(f"{answer!r:.80}")


def _serve(
    worker: int, channel_number: int, function: Scored, memory_mb: int, memory: int | None, filtered: bool
) -> None:
    """The life of a copy; never returns."""
    try:
        channel = _only(channel_number)
        _shut_in(worker, memory, filtered)
        while (message := receive(channel)) is not None:
            send(channel, _answer(function, message, memory_mb))
    finally:
        os._exit(1)


def _only(channel_number: int) -> socket.socket:
    """The channel, after every other descriptor has been closed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.dup2(channel_number, 3)
    os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return socket.socket(fileno=3)


def _shut_in(worker: int, memory: int | None, filtered: bool) -> None:
    if LINUX:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:  # it ended before it was followed
        os._exit(1)
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if filtered:
        seccomp.allow_computing()


def _answer(function: Scored, message: Any, memory_mb: int) -> dict[str, Any]:
    try:
        return {"value": pack(function(*message))}
    except OwnProcess:
        return {"own_process": True}
    except MemoryError:
        return {"error": f"out of memory (more than {memory_mb} MB)"}
    except BaseException as error:  # SystemExit too: a scorer that calls exit() has failed, no more
        return {"error": f"{type(error).__name__}: {words_of(error)}"[:1000]}
