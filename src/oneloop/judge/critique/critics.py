"""Calls a critic of the user's own with one solution, and checks what it returns. Runs inside a worker.

    def critic(steps, answer, **columns):        which steps are wrong: [1, 3], or {1: "why", 3: "why"}

It is told by the names of its parameters: `steps` (list of texts), `prompt`, `text`, `truncated` (whether the
solution was cut off), `seed` (another number for each critique, for critics that draw), and any column of the
data. None means "no critique". Standard library only.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any


class Critic:
    """A critic function, ready to be called with solutions; `info` says which columns it must be sent."""

    def __init__(self, function: Callable[..., Any]):
        parameters = inspect.signature(function).parameters
        named = {name: p for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        self._function, self._names = function, list(named)
        self._required = [name for name, p in named.items() if p.default is inspect.Parameter.empty]
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if not {"steps", "text"} & set(named):
            raise ValueError(
                f"a critic takes `steps` or `text`; this one's parameters: {', '.join(parameters) or 'none'}"
            )
        self.info = {"names": self._names, "all_columns": self._open}

    def __call__(self, asked: dict[str, Any]) -> list[list[Any]] | None:
        """[[step, words], ...] of the wrong steps, or None. Raises what the function raises."""
        offered = {**asked["columns"], **asked["solution"]}
        if missing := [name for name in self._required if name not in offered]:
            raise TypeError(f"it asks for '{missing[0]}'; there are: {', '.join(offered)}")
        told = offered if self._open else {name: offered[name] for name in self._names if name in offered}
        return read(self._function(**told), len(asked["solution"]["steps"]))


def read(result: Any, num_steps: int) -> list[list[Any]] | None:
    """What a critic returned, checked. Raises ValueError for anything but numbers of steps."""
    if result is None:
        return None
    words: Mapping[Any, Any] = result if isinstance(result, Mapping) else {}
    try:
        steps = sorted({int(step) for step in result})
        whole = all(int(step) == step and not isinstance(step, bool) for step in result)
    except (TypeError, ValueError):
        steps, whole = [], False
    if not whole:
        raise ValueError(f"returned {result!r:.80}, not the numbers of the wrong steps")
    if steps and not 0 <= steps[0] <= steps[-1] < num_steps:
        raise ValueError(f"returned steps {steps}, but the solution's are 0..{num_steps - 1}")
    return [[step, str(words.get(step, ""))] for step in steps]
