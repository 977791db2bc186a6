"""Progress of a command that takes a while: a bar on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SOON = 2.0
"""Seconds before the first line: work that is over by then prints none."""
RHYTHM = 10.0
"""Seconds between two lines."""
Count = Callable[[int, str], None]
"""Called with how many are done, and a note on the newest."""


@contextmanager
def counted(shown: Console, what: str, total: int, done: int = 0) -> Iterator[Count]:
    """Shows on `shown` how many of `total` are done, from `done` on, whenever what it yields is called."""
    if not shown.is_terminal:
        yield _Lines(shown, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True) as progress:
        bar = progress.add_task(what, total=total, completed=done)
        yield lambda now, note: progress.update(bar, completed=now, description=f"{what} {note}".rstrip())


class _Lines:
    """Prints `what` now/total and the note after `SOON` seconds, then every `RHYTHM`, and at the end."""

    def __init__(self, shown: Console, what: str, total: int):
        self._shown, self._what, self._total = shown, what, total
        self._next, self._printed = time.monotonic() + SOON, False

    def __call__(self, now: int, note: str) -> None:
        last = self._printed and now == self._total
        if not last and time.monotonic() < self._next:
            return
        self._next, self._printed = time.monotonic() + RHYTHM, True
        line = f"{self._what} {now}/{self._total} {note}".rstrip()
        self._shown.print(line, markup=False, highlight=False, soft_wrap=True)
