"""One worker process, seen from the run: started, greeted, asked, and killed with all that it started."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from oneloop.core.scratch import Scratch
from oneloop.judge.isolation import messages
from oneloop.judge.isolation.confinement import PACKAGE, Access

START_SECONDS = 300.0
LATE = 20.0
"""Seconds after its own time limit at which a worker that times its copies itself is given up."""
TOLD = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONHASHSEED", "PYTHONUTF8")
"""Environment variables that every worker gets; others by `Access.environment` alone."""
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from oneloop.judge.isolation.worker import main; "
BOOT += "main(int(sys.argv[2]), int(sys.argv[3]))"
# one arena: every further one reserves 64 MB of address space, which is what the memory limit counts
SMALL = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class CannotStart(ValueError):
    """The function of a sandbox cannot be loaded: a fault of the recipe, not of a rollout."""


@dataclass(frozen=True)
class Outcome:
    """What came of one call: `value`, or `error` in words (then `value` is None)."""

    value: Any = None
    error: str | None = None


class Worker:
    """One process. Not thread-safe: its sandbox lets one thread at a time use it."""

    def __init__(self, hello: dict[str, Any]):
        self._copies = hello["copies"]
        self._channel, other = socket.socketpair()
        guard, self._guard = os.pipe()
        numbers = (other.fileno(), guard)
        access: Access = hello["access"]
        told = {name: os.environ[name] for name in (*TOLD, *access.environment) if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, str(PACKAGE.parent), *map(str, numbers)],
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that what it started is killed with it, and Ctrl-C reaches us alone
            env={**SMALL, **told},
        )
        other.close()
        os.close(guard)
        self.alive = True
        self._folder = Scratch()  # its watcher removes it when the run is killed, once there is a watcher
        seen = asdict(self._seen(hello))
        try:
            self.info = self._greet(
                {**hello, "path": absolute(sys.path), "folder": self._folder.path, "access": seen}
            )
        except BaseException:  # Ctrl-C, too
            self.kill()
            raise

    def _greet(self, hello: dict[str, Any]) -> Any:
        deadline = time.monotonic() + START_SECONDS
        try:
            messages.send(self._channel, messages.pack(hello), deadline)
            answer = messages.receive(self._channel, deadline)
        except TimeoutError:
            answer = {"error": f"importing it took more than {START_SECONDS:g} s"}
        except (OSError, messages.BadMessage):
            answer = None
        if answer is None:
            answer = {"error": f"importing it ended the process ({self._ended()})"}
        if "error" in answer:
            raise CannotStart(f"cannot load '{hello['function']}': {answer['error']}")
        self.missing: dict[str, str] = answer["missing"]
        return answer["info"]

    @staticmethod
    def _seen(hello: dict[str, Any]) -> Access:
        """The access of the worker: a function of the user sees the folders its code may lie in."""
        access: Access = hello["access"]
        if hello["copies"]:
            return access
        folders = absolute(path for path in sys.path if os.path.isdir(path or "."))
        files = [hello["function"], hello["adapter"] or ""]
        folders += [os.path.dirname(os.path.realpath(f.rpartition(":")[0])) for f in files if ".py:" in f]
        return Access(access.network, access.environment, (*access.files, *folders))

    def run(self, arguments: list[Any], seconds: float) -> list[Outcome]:
        """Outcomes in order; fewer than arguments when the last of them ended the process."""
        outcomes: list[Outcome] = []
        limit = seconds + LATE if self._copies else seconds
        try:
            asked = {"calls": arguments, "seconds": seconds}
            messages.send(self._channel, asked, time.monotonic() + limit)
            for _ in arguments:
                answer = messages.receive(self._channel, time.monotonic() + limit)
                if answer is None:
                    raise ConnectionError
                outcomes.append(Outcome(answer.get("value"), answer.get("error")))
                if answer.get("last"):
                    self.kill()
                    break
        except TimeoutError:
            outcomes.append(Outcome(error=f"timed out after {seconds:g} s"))
            self.kill()
        except OSError:
            outcomes.append(Outcome(error=f"the process ended ({self._ended()})"))
            self.kill()
        except messages.BadMessage as bad:
            outcomes.append(Outcome(error=f"no answer came back: {bad}"))
            self.kill()
        except (
            BaseException
        ):  # Ctrl-C here: what the worker still answers must not be taken for the next call's
            self.kill()
            raise
        return outcomes

    def kill(self) -> None:
        """Ends the process and what it started."""
        self.alive = False
        # once: the number may be another file's by the second time
        if (guard := self._guard) >= 0:
            self._guard = -1
            os.close(guard)  # its watcher ends it and all that it started
        self._channel.close()  # it ends itself where it has no watcher yet
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=LATE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.remove()

    def _ended(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its channel"
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"


def absolute(paths: Iterable[str]) -> list[str]:
    """`paths` as absolute ones: a worker has another working directory."""
    return [os.path.abspath(path) for path in paths]
