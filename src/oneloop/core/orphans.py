"""Processes that end with the one that started them, however that one ends: SIGKILL lets nobody clean up."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait

TIED = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])"
)


def end_with_parent() -> None:
    """Ends this process of `multiprocessing` as soon as its parent has ended, at once if it has already.

    `daemon=True` is not enough: daemons are ended by their parent, which a killed one does not do.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), name="parent", daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def tied(words: Sequence[str]) -> list[str]:
    """A command that runs the program `words[0]`, a path, and is killed when the thread that started it ends.

    Only Linux kills it; elsewhere it is `words`.
    """
    if sys.platform != "linux":
        return list(words)
    return [sys.executable, "-S", "-c", TIED, str(os.getpid()), *words]
