"""Tail Token Drop: rollouts keep a random number of tokens, the first ones (One-D-Piece, arXiv 2501.10064).

    K ~ uniform {least, ..., most}        budget = K        P(token j is kept) = (most - j) / most for least 1

Decoders learn to make an image of any prefix; the earlier a token, the more it must say. A language policy
that is given such budgets writes so many tokens. A K is a function of the seed and of the batch, the group or
the rollout it is for: no state, and the same after a resume.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


@part(reads=("id", "group"), writes=("budget",), paper="arXiv 2501.10064")
class TailDrop:
    """Writes `budget`, int64 [n], for fresh rows: the number of tokens each keeps."""

    most: Annotated[int, Field(ge=1)]
    """Most tokens that are kept: those of a whole image."""
    least: Annotated[int, Field(ge=1)] = 1
    """Fewest tokens that are kept."""
    each: Literal["rollout", "group", "batch"] = "rollout"
    """What has a number of its own: every rollout, every group, or (as in the paper) every batch."""

    def __post_init__(self) -> None:
        if self.most < self.least:
            raise ValueError(f"most must be at least least ({self.least}), got {self.most}")

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with the number of tokens that each keeps."""
        seed, step = rollouts.facts["seed"], int(rollouts.facts["step"])
        of = {"rollout": rollouts.id, "group": rollouts.group, "batch": torch.full_like(rollouts.id, step)}
        keys = draws.mix(seed, "tail_drop", of[self.each].numpy())
        drawn = torch.from_numpy(draws.uniforms(keys, 0)) * (self.most - self.least + 1)
        return rollouts.put(budget=self.least + drawn.long())
