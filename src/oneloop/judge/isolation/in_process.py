"""A Python function at hand, called like a sandboxed one but in this process, for the Python interface.

It sees the state of the program, which no other process can. In the main thread it is called there, as when
tried by hand: libraries such as math-verify refuse other threads. Bounded: Python code that takes too long is
interrupted. NOT bounded: its memory, and code in C that hangs. Give the path of the function instead wherever
possible (oneloop.judge.isolation.sandbox).
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from oneloop.judge.isolation.process import Outcome
from oneloop.judge.isolation.sandbox import GIVE_UP
from oneloop.judge.isolation.worker import describe

INTERRUPT = signal.SIGVTALRM
"""The signal that ends a late call: one that nobody else uses (math-verify takes SIGALRM)."""


class Late(BaseException):
    """A call took longer than it may. Not an Exception, so that the function does not catch it."""


class Live:
    """`function` in this process, with the interface of a Sandbox."""

    def __init__(self, function: Callable[[Any], Any]):
        self._function = function
        self.info: Any = getattr(function, "info", None)

    def run(self, arguments: Sequence[Any], seconds: float) -> list[Outcome]:
        """One outcome for each argument, each call waited for at most `seconds`."""
        outcomes: list[Outcome] = []
        hung = 0
        call = self._here if _may_interrupt() else self._in_thread
        for argument in arguments:
            if hung >= GIVE_UP:
                outcomes.append(Outcome(error=f"not tried: the last {GIVE_UP} calls timed out"))
                continue
            outcome = call(argument, seconds)
            hung = hung + 1 if (outcome.error or "").startswith("timed out") else 0
            outcomes.append(outcome)
        return outcomes

    def _here(self, argument: Any, seconds: float) -> Outcome:
        try:
            with _interrupted_after(seconds):
                return self._outcome(argument)
        except Late:
            return Outcome(error=f"timed out after {seconds:g} s")

    def _in_thread(self, argument: Any, seconds: float) -> Outcome:
        done: list[Outcome] = []
        thread = threading.Thread(target=lambda: done.append(self._outcome(argument)), daemon=True)
        thread.start()
        thread.join(seconds)
        return done[0] if done else Outcome(error=f"timed out after {seconds:g} s (its thread still runs)")

    def _outcome(self, argument: Any) -> Outcome:
        try:
            return Outcome(self._function(argument))
        except (Exception, SystemExit) as error:  # a function that calls exit() has failed, no more
            return Outcome(error=describe(error))


def _may_interrupt() -> bool:
    """Whether this is the main thread, and no event loop runs in it that a function would need for itself."""
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raises Late in the main thread, which must be this one, when what is inside takes longer."""
    inside = True

    def interrupt(*_: Any) -> None:
        if inside:
            raise Late

    main = threading.get_ident()
    timer = threading.Timer(seconds, lambda: signal.pthread_kill(main, INTERRUPT))
    timer.daemon = True
    before = signal.signal(INTERRUPT, interrupt)
    timer.start()
    try:
        yield
    finally:
        inside = False
        timer.cancel()
        timer.join()  # a signal that is on its way arrives before the handler is taken away
        signal.signal(INTERRUPT, before)
