"""A penalty for rollouts that were cut off at their limit (finish reason "length"), 0 for all others.

Cutting off is three separate choices: this penalty; leaving the rollout out of the loss and leaving it out
of the group's baseline are select and credit parts.
"""

from typing import Annotated

from pydantic import Field

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import Verdict, columns


@part(reads=("status",), writes=lambda self: (f"reward.{self.name}", f"error.{self.name}"))
class Truncated:
    """-penalty where the status is "length", else 0."""

    penalty: Annotated[float, Field(ge=0)] = 1.0
    """Reward that a rollout loses when it is cut off."""
    name: Annotated[str, Field(min_length=1)] = "truncated"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Writes -penalty for cut-off rollouts and 0 for the others; never an error."""
        verdicts = [Verdict(-self.penalty if status == "length" else 0.0) for status in rollouts.status]
        return rollouts.put(columns(self.name, verdicts))
