"""Draw how many visual tokens a picture has, for each group or batch (TokenFLEX, arXiv 2504.03154).

    N ~ choices with probabilities        all rollouts of a group have the same N, so that they compare

A policy then trains on several budgets with one set of weights. Those that are served later should be among
the choices: the ones between are not learned for free. The draw is a function of (seed, group or step).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from oneloop.core.budgets import Budgets
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


@part(reads=("group",), writes=lambda self: (self.column,), paper="arXiv 2504.03154")
class TokenBudget:
    """Writes `image_tokens` (or `budget`), int64 [n], for fresh rows: equal within a group."""

    choices: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 144, 256)
    """Visual tokens of a picture to choose from."""
    probabilities: tuple[float, ...] = ()
    """Probability of each choice; empty: all alike. (0.2, 0.3, 0.5) saves 28 % of the tokens of 256."""
    each: Literal["group", "batch"] = "group"
    """What has a budget of its own: every group, or every batch."""
    column: Literal["image_tokens", "budget"] = "image_tokens"
    """What is drawn: visual tokens of the prompt's pictures, or actions that the rollout may take."""

    def __post_init__(self) -> None:
        _ = self._budgets

    @property
    def _budgets(self) -> Budgets:
        return Budgets(self.choices, self.probabilities)

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with what was drawn."""
        named = (
            rollouts.group
            if self.each == "group"
            else torch.full_like(rollouts.group, rollouts.facts["step"])
        )
        drawn = self._budgets.draw(int(rollouts.facts["seed"]), named.numpy())
        return rollouts.put({self.column: torch.from_numpy(drawn)})
