"""What a judge says of one rollout: a score, nothing, or that it failed. The three are never confused.

score   a finite number           reward.<name> = the number    error.<name> = None
none    the judge has no opinion  reward.<name> = NaN           error.<name> = None
error   it raised, hung, ...      reward.<name> = NaN           error.<name> = what happened
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from oneloop.core.rollouts import Column
from oneloop.core.text import shown

LONGEST = 2000
"""Characters kept of an error."""


class JudgeError(ValueError):
    """A judge cannot do its work at all, or failed where `on_error` is "stop"."""


@dataclass(frozen=True)
class Verdict:
    """`score` (NaN: none) and `error` in words (None: no error)."""

    score: float = math.nan
    error: str | None = None

    def __post_init__(self) -> None:
        if self.error is not None:  # words of others, on their way to files and terminals
            object.__setattr__(self, "error", shown(self.error[:LONGEST]))


def verdict(value: Any) -> Verdict:
    """The verdict meant by `value`: None is "none"; NaN, infinity and what is no number are errors."""
    if value is None:
        return Verdict()
    if not isinstance(value, bool | int | float):
        return Verdict(error=f"returned {value!r:.80}, which is no number")
    if not math.isfinite(value):
        return Verdict(error=f"returned {value} (None is how to say that there is no verdict)")
    return Verdict(float(value))


def columns(name: str, verdicts: Sequence[Verdict]) -> dict[str, Column]:
    """The two columns of the judge `name`: reward.<name> float64 [n], error.<name> [n]."""
    return {
        f"reward.{name}": torch.tensor([v.score for v in verdicts], dtype=torch.float64),
        f"error.{name}": [v.error for v in verdicts],
    }
