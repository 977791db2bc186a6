"""The weights edge: the newest version wins, and what somebody reads is never written to.

A writer fills a buffer that nobody refers to and then makes it the newest; a reader refers to the newest
one, or to the one of a version that was kept for it. So weights are never torn, memory is bounded by the
number of buffers, and nobody waits unless all of them are referred to.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class NoVersion(LookupError):
    """A version that was never published, or that nobody kept."""


@dataclass(eq=False)
class Buffer:
    """One copy of the weights."""

    version: int = -1
    value: Any = None
    references: int = 0


class Weights:
    """`buffers` copies of weights: one writer, any number of readers. Two are enough for the newest alone."""

    def __init__(self, buffers: int = 2):
        if buffers < 2:
            raise ValueError(f"buffers must be at least 2, one to read and one to write, got {buffers}")
        self._buffers = [Buffer() for _ in range(buffers)]
        self._newest: Buffer | None = None
        self._changed = threading.Condition()

    @property
    def version(self) -> int:
        """Version of the newest weights; -1 before the first."""
        return -1 if self._newest is None else self._newest.version

    def publish(self, version: int, fill: Callable[[Any], Any]) -> None:
        """Makes `fill(old)` the weights of `version`; waits while all other buffers are referred to.

        `old` is a buffer's former content, or None; `fill` may write into it and return it.
        """
        with self._changed:
            if version <= self.version:
                raise ValueError(f"version {version} after version {self.version}: versions only grow")
            self._changed.wait_for(lambda: self._idle() is not None)
            buffer = self._idle()
            assert buffer is not None
            buffer.references = 1  # of the writer
        try:
            value = fill(buffer.value)
        except BaseException:
            buffer.version, buffer.value = -1, None
            self.release(buffer)
            raise
        with self._changed:
            buffer.version, buffer.value = version, value
            self._newest = buffer
        self.release(buffer)

    def acquire(self, version: int | None = None) -> Buffer:
        """Takes a reference to the newest weights, or to those of `version`; they stay unchanged until
        `release`.

        Raises NoVersion when there are none, or no longer.
        """
        with self._changed:
            buffer = self._newest
            if version is not None:
                buffer = next((each for each in self._buffers if each.version == version), None)
            if buffer is None:
                raise NoVersion(f"no weights of version {version}; the newest are of version {self.version}")
            buffer.references += 1
            return buffer

    def release(self, buffer: Buffer) -> None:
        """Gives up one reference."""
        with self._changed:
            if buffer.references < 1:
                raise ValueError(
                    f"the weights of version {buffer.version} were released more often than taken"
                )
            buffer.references -= 1
            self._changed.notify_all()

    def _idle(self) -> Buffer | None:
        """A buffer to write to: not the newest, and nobody refers to it."""
        idle = [each for each in self._buffers if each is not self._newest and each.references == 0]
        # one that was filled before, so that no more are than were needed at a time
        return min(idle, key=lambda each: (each.value is None, each.version), default=None)
