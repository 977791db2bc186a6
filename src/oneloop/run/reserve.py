"""Disk space that is reserved for answers that have been paid for.

A file without content takes up the space. When the disk is full it is deleted, and the answer to a request,
which would cost money or time to get again, takes its place.
"""

import contextlib
import errno
import os
from pathlib import Path

LEAST = 4 << 20
"""Bytes reserved before the size of an answer is known."""


class Reserve:
    """Keeps twice the largest size that it was told of at `path`."""

    def __init__(self, path: Path):
        self.path, self._bytes = path, LEAST

    def wants(self, size: int) -> None:
        """An answer of `size` bytes was written; the next may be as large."""
        self._bytes = max(self._bytes, 2 * size)

    def keep(self) -> None:
        """Takes the room. Raises OSError when the disk or a quota does not have it.

        A file system that cannot set room aside has no reserve.
        """
        have = self.path.stat().st_size if self.path.exists() else 0
        if have >= self._bytes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(self.path.open("ab")) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, self._bytes)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    self.path.unlink()
                    raise OSError(
                        error.errno,
                        f"less than {self._bytes >> 20} MB are left on the disk of {self.path.parent}: "
                        "stopped before sampling, nothing is lost; make room and --resume",
                    ) from error

    def spend(self) -> bool:
        """Gives the room back; whether there was any."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True
