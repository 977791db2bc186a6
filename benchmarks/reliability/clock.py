"""A clock for deadlines of child processes: while a busy machine holds up who waits, it holds them up too."""

import time

TICK = 0.002
"""Seconds between two looks."""
LATE = 0.1
"""The most seconds that count between two looks."""


class Clock:
    """Counts seconds, but none in which this process was held up."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._seen = time.monotonic()

    def tick(self) -> None:
        """Sleeps a little."""
        time.sleep(TICK)
        now = time.monotonic()
        self.seconds += min(now - self._seen, LATE)
        self._seen = now
