"""The process between a run and its worker: it ends the worker, and all that this started, when the run ends.

The run holds one end of a pipe. When it closes, because the run is done with the worker or was killed, the
watcher kills every process that descends from the worker, removes the worker's folder, and ends.
"""

import contextlib
import os
import select
import shutil
import signal
from pathlib import Path

from oneloop.judge.isolation.system import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl


def fork_watched(guard: int, folder: str) -> None:
    """Forks; returns in the child alone. The parent watches it and ends in the same way."""
    with contextlib.suppress(OSError):  # orphans of the worker become children of this process
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child:
        status = _watch(child, guard, woken)
        _kill_children()
        shutil.rmtree(folder, ignore_errors=True)
        if status is None:
            os.killpg(
                0, signal.SIGKILL
            )  # itself too; where orphans cannot be found they are at least in its group
        else:
            _end_like(status)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in (woken, guard):
        os.close(descriptor)
    with contextlib.suppress(OSError):
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # the watcher is not seen from a process namespace of one's own, but its end of the pipe is
    if _unread(wake):  # it ended before it was followed
        os._exit(1)
    os.close(wake)


def _unread(pipe: int) -> bool:
    """Whether nobody has the other end of a pipe, to which this process could write."""
    asked = select.poll()
    asked.register(pipe, 0)
    return bool(asked.poll(0))


def _watch(child: int, guard: int, woken: int) -> int | None:
    """Waits for the end of `child`; returns how it ended, None when the run ended and `child` was killed."""
    while True:
        ready, _, _ = select.select([guard, woken], [], [])
        if guard in ready:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        os.read(woken, 4096)
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status


def _kill_children() -> None:
    """Ends what is left: children of a child that ended are ours now, so rounds follow until none is left."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    while listed.exists() and (children := listed.read_text(encoding="utf-8").split()):
        for number in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
        for number in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(number), 0)


def _end_like(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
    os._exit(1)
