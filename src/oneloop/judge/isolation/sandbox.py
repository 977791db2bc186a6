"""Runs a function in worker processes that are shut in, and killed when they take too long or too much.

Bounded: wall time of every call, memory a worker takes beyond what importing the function took, crashes (a
segmentation fault or exit() costs the call, not the run), and the life of the workers and of all they start
(they end with the run, even when it is killed). A worker is told no environment variable, reads no file but
Python's, writes to no folder but its own and reaches no network, unless `Access` says so; which of that holds
depends on the system, see oneloop.judge.isolation.confinement and docs/threat_model.md.

Workers are fresh `python` processes, never forks of a process that holds torch's threads; they start at the
first call and are used again. Everything works from any thread: no signal is used on this side.
"""

import contextlib
import importlib.util
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from oneloop.core.judge_limits import JudgeLimits
from oneloop.judge.functions import locate
from oneloop.judge.isolation import messages
from oneloop.judge.isolation.confinement import LAYERS, Access
from oneloop.judge.isolation.process import CannotStart, Outcome, Worker, absolute

GIVE_UP = 3
"""First calls that time out in a row after which the others are not tried: a dead service hangs all."""


class Sandbox:
    """`function` (`package.module.function` or `file.py:function`) in `workers` processes.

    With `setup`, the function is called once with it in each worker, and what it returns serves the calls;
    `adapter` is the path of a function that is given what was loaded and returns what serves the calls.
    `copies`: the function handles what a model wrote and runs in copies of the worker, which are shut in
    further (oneloop.judge.isolation.forked); it takes (argument, whether it has a copy for itself).
    """

    def __init__(
        self,
        function: str,
        setup: Sequence[Any] | None = None,
        *,
        adapter: str | None = None,
        workers: int = 1,
        memory_mb: int = 1024,
        access: Access = Access(),  # noqa: B008 (frozen)
        copies: bool = False,
        layers: Sequence[str] = LAYERS,
    ):
        if ".py:" in function:
            function = os.path.abspath(function)
        names = {"function": function, "setup": setup, "adapter": adapter, "memory_mb": memory_mb}
        self.source = source_of(function)
        """What the function's file says when this is made; workers that are replaced later run it too."""
        self._hello = {
            **names,
            "source": self.source,
            "access": access,
            "copies": copies,
            "layers": list(layers),
        }
        self._workers: list[Worker | None] = [None] * workers
        self._lock = threading.Lock()
        self._stop = weakref.finalize(self, _stop, self._workers, os.getpid())

    @property
    def info(self) -> Any:
        """The attribute `info` of the function, asked of a worker. Raises CannotStart."""
        with self._lock:
            return self._worker(0).info

    @property
    def missing(self) -> dict[str, str]:
        """The layers of isolation that a worker does not have here, and why. Raises CannotStart."""
        with self._lock:
            return self._worker(0).missing

    def run(self, arguments: Sequence[Any], seconds: float) -> list[Outcome]:
        """One outcome for each argument; every call is limited to `seconds` and independent of the others.

        A call that fails costs itself alone: a worker that is killed is replaced and goes on with the next.
        Raises CannotStart when the function cannot be loaded, TypeError for an argument JSON cannot hold.
        """
        packed = [messages.pack(argument) for argument in arguments]
        outcomes: list[Outcome] = [Outcome()] * len(packed)
        count = len(self._workers)
        size = max(1, math.ceil(len(packed) / (1 if count == 1 else 4 * count)))
        pieces = deque(range(start, min(start + size, len(packed))) for start in range(0, len(packed), size))
        with self._lock:
            if count == 1:
                self._serve(0, pieces, packed, outcomes, seconds)
            else:
                with ThreadPoolExecutor(count) as pool:
                    work = [
                        pool.submit(self._serve, i, pieces, packed, outcomes, seconds) for i in range(count)
                    ]
                    for done in work:
                        done.result()
        return outcomes

    def close(self) -> None:
        """Ends the workers; the next call starts new ones."""
        with self._lock:
            _stop(self._workers, os.getpid())

    def _worker(self, slot: int) -> "Worker":
        if (current := self._workers[slot]) is not None and current.alive:
            return current
        self._workers[slot] = started = Worker(self._hello)
        return started

    def _serve(
        self, slot: int, pieces: deque[range], packed: list[Any], outcomes: list[Outcome], seconds: float
    ) -> None:
        hung, answered = 0, False
        while pieces:
            try:
                rows = list(pieces.popleft())
            except IndexError:  # another thread took the last one
                return
            while rows:
                # a model may write as many texts that hang as it likes: each has its own limit
                if hung >= GIVE_UP and not answered and not self._hello["copies"]:
                    results = [Outcome(error=f"not tried: the last {GIVE_UP} calls timed out")] * len(rows)
                else:
                    results = self._worker(slot).run([packed[i] for i in rows], seconds)
                for i, outcome in zip(rows, results, strict=False):
                    outcomes[i] = outcome
                    late = (outcome.error or "").startswith("timed out")
                    hung, answered = hung + 1 if late else 0, answered or outcome.error is None
                rows = rows[len(results) :]


def _stop(workers: "list[Worker | None]", owner: int) -> None:
    if os.getpid() != owner:  # a fork of ours must not end what is not its own
        return
    for slot, current in enumerate(workers):
        if current is not None and current.alive:
            current.kill()
        workers[slot] = None


_SHARED: dict[tuple[Any, ...], Sandbox] = {}


def source_of(function: str) -> str:
    """The text of the file that a function is in; "" where it cannot be read, or is oneloop's own."""
    if function.startswith("oneloop."):
        return ""
    name = function.rpartition(":" if ".py:" in function else ".")[0]
    with contextlib.suppress(Exception):  # what is wrong with it, its worker says
        file = Path(name) if ".py:" in function else locate.module_file(name)
        if file is not None and file.suffix == ".py":
            return importlib.util.decode_source(file.read_bytes())
    return ""


def shared(
    function: str,
    limits: JudgeLimits,
    setup: tuple[Any, ...] | None = None,
    adapter: str | None = None,
    copies: bool = False,
) -> Sandbox:
    """The sandbox of this function, one for the whole process: judges that ask the same share its workers.

    A function whose file was edited gets another sandbox; judges of before keep theirs. Raises CannotStart
    for a file or an environment variable of `limits` that is not there.
    """
    files = tuple(absolute(os.path.expanduser(file) for file in limits.files))
    if missing := [file for file in files if not os.path.exists(file)]:
        raise CannotStart(f"limits.files: no such file: {missing[0]}")
    if missing := [name for name in limits.environment if name not in os.environ]:
        raise CannotStart(f"limits.environment: the variable {missing[0]} is not set")
    access = Access(limits.network, limits.environment, files)
    key = (function, setup, adapter, limits.workers, limits.memory_mb, access, copies)
    made = _SHARED.get(key)
    if made is None or made.source != source_of(function):
        made = _SHARED[key] = Sandbox(
            function,
            setup,
            adapter=adapter,
            workers=limits.workers,
            memory_mb=limits.memory_mb,
            access=access,
            copies=copies,
        )
    return made
