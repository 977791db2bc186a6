"""What a judge says of one rollout: a score, nothing, or that it failed. The three are never confused.

score   a finite number           reward.<name> = the number    error.<name> = None
none    the judge has no opinion  reward.<name> = NaN           error.<name> = None
error   it raised, hung, ...      reward.<name> = NaN           error.<name> = what happened
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import Field

from oneloop.core.part import CONFIGURATION
from oneloop.core.rollouts import Column
from oneloop.core.text import shown

LONGEST = 2000
"""Characters kept of an error."""


class JudgeError(ValueError):
    """A judge cannot do its work at all, or failed where `on_error` is "stop"."""


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CONFIGURATION)
class Limits:
    """What a judge may take, and what happens to the rollouts on which it fails."""

    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds of wall time a call may take: one rollout, or the batch where the function takes a batch."""
    memory_mb: Annotated[int, Field(ge=16)] = 1024
    """Memory a worker may take beyond what it has after its imports (Linux)."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes; more than one help a judge that scores one rollout at a time."""
    network: bool = False
    """Whether a function of your own may open connections."""
    environment: tuple[str, ...] = ()
    """Names of environment variables a function of your own is told; it is told no others."""
    files: tuple[str, ...] = ()
    """Files and folders a function of your own may read, beside Python and the folder of its own file."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How often a rollout in error is judged again before the error counts."""
    on_error: Literal["drop_rollout", "drop_group", "stop"] = "drop_rollout"
    """Leave the rollout without a reward, refuse its whole group, or stop the run."""

    @property
    def of_a_worker(self) -> dict[str, Any]:
        """The settings that need a worker process, by name."""
        names = ("memory_mb", "workers", "network", "environment", "files")
        return {name: getattr(self, name) for name in names}


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
