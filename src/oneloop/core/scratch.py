"""Folders for files that are needed for a while only, such as a worker's own or a local cluster's.

Whoever makes one removes it. A process that is killed cannot: so each folder is locked by its process, which
the system undoes when that ends, and the first folder that a process makes removes those without an owner.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType

PREFIX = "oneloop-scratch-"
YOUNG = 60.0
"""Seconds for which a folder without a lock is left alone: it may have been made this moment."""


class Scratch:
    """An empty folder at `path`, in `place` (None: the system's temporary directory), until `remove`."""

    def __init__(self, place: str | None = None):
        place = place or tempfile.gettempdir()
        remove_ownerless(place)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=place)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        _locked(self._lock)

    def remove(self) -> None:
        """Removes the folder with what is in it; nothing happens the second time, or where others did."""
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)

    def __enter__(self) -> str:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


@cache
def remove_ownerless(place: str) -> None:
    """Removes this user's folders in `place` whose process has ended; once a process."""
    for folder in Path(place).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another process removes it at the same time, say
            found = os.stat(folder, follow_symlinks=False)
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > YOUNG:
                _remove_free(folder)


def _remove_free(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if _locked(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _locked(folder: int) -> bool:
    """Whether this process has the lock of the open `folder` now; False on a file system without locks."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
