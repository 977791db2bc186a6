"""A Python function at hand, called like a sandboxed one but in this process, for the Python interface.

It sees the state of the program, which no other process can. Bounded: the time that is waited for it.
NOT bounded: its memory; and a call that hangs cannot be killed, its thread lives on until the program ends.
Give the path of the function instead wherever possible (tools/sandbox.py).
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from oneloop.judge.isolation.sandbox import GIVE_UP, Outcome
from oneloop.judge.isolation.worker import describe


class Live:
    """`function` in threads of this process, with the interface of a Sandbox."""

    def __init__(self, function: Callable[[Any], Any]):
        self._function = function
        self.info: Any = getattr(function, "info", None)

    def run(self, arguments: Sequence[Any], seconds: float) -> list[Outcome]:
        """One outcome for each argument, each call waited for at most `seconds`."""
        outcomes: list[Outcome] = []
        hung = 0
        for argument in arguments:
            if hung >= GIVE_UP:
                outcomes.append(Outcome(error=f"not tried: the last {GIVE_UP} calls timed out"))
                continue
            outcome = self._call(argument, seconds)
            hung = hung + 1 if outcome is None else 0
            outcomes.append(
                outcome or Outcome(error=f"timed out after {seconds:g} s (its thread still runs)")
            )
        return outcomes

    def _call(self, argument: Any, seconds: float) -> Outcome | None:
        done: list[Outcome] = []

        def call() -> None:
            try:
                done.append(Outcome(self._function(argument)))
            except Exception as error:
                done.append(Outcome(error=describe(error)))

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(seconds)
        return done[0] if done else None
