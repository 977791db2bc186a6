"""Ctrl-C and SIGTERM while steps are made: the step ends, a checkpoint is saved, then the run stops.

A second signal stops at once, as does a step that takes longer than PATIENCE seconds to end.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 20.0
"""Seconds that the step which runs may still take: batch systems give about thirty before they kill."""
Handler = Callable[[int, FrameType | None], Any]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM that come meanwhile do what they do when what is inside has ended, however it ends.

    Signals without a Python handler do it at once, as do all of them outside the main thread.
    """
    came: list[int] = []
    before: dict[int, Handler] = {}
    try:
        _replace(before, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            before[number](number, None)


def _replace(before: dict[int, Handler], handler: Handler) -> None:
    """Puts `handler` in the place of every Python handler of SIGNALS, which go into `before`.

    None does outside the main thread, where Python handles none.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            present = signal.getsignal(number)
            if callable(present):
                before[number] = present
                signal.signal(number, handler)


class Stopping:
    """A `with` statement in which the first signal is noted and no more.

    `says` gets a sentence about it, with `when` the run will stop.

    Handlers that were there before, Python's own for Ctrl-C for one, are what a second signal meets, and what
    `carry_out` calls. A signal without a Python handler does what it always does, as do all of them outside
    the main thread, where Python handles none.
    """

    def __init__(self, says: Callable[[str], None], when: str = "with a checkpoint after this step"):
        self._says, self._when = says, when
        self._before: dict[int, Handler] = {}
        self.came: int | None = None
        """Number of the first signal."""
        self._wakes, self._over = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        try:
            _replace(self._before, self._note)
            if self._before:
                threading.Thread(target=self._watch, name="oneloop stop", daemon=True).start()
        except BaseException:  # a signal whose handler was not replaced yet
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._over.set()
        self._wakes.set()

    def in_time(self) -> None:
        """The step is over: what follows may take as long as it takes."""
        self._over.set()

    def carry_out(self, number: int) -> None:
        """Does what signal `number` would have done at once, or raises KeyboardInterrupt."""
        self._before.get(number, signal.default_int_handler)(number, None)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        # nothing is printed here: the interpreter may be in the middle of printing
        if self.came is not None:
            self._before[number](number, frame)
        else:
            self.came = number
            self._wakes.set()

    def _watch(self) -> None:
        """Speaks of the first signal, and sends a second one where the step does not end in time."""
        self._wakes.wait()
        if self._over.is_set() or self.came is None:
            return
        with contextlib.suppress(Exception):
            self._says(
                f"{signal.Signals(self.came).name}: stopping {self._when}, or in {PATIENCE:g} s without; "
                "once more stops at once"
            )
        if not self._over.wait(PATIENCE):
            os.kill(os.getpid(), self.came)
