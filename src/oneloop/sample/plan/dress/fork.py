"""Rollouts of a group share a beginning and part at given steps: one tree a group (BranchGRPO, 2509.06040).

    leaves = factor ^ len(steps)     leaf `branch` takes child branch // factor^(later forks) mod factor

A step is an action: a denoising step of a flow policy, a token of a language policy. A fork at step 0 into
the whole group is a flat group from one start (DanceGRPO's shared noise). Correlated siblings (flow policies)
keep their marginals: see policies/trees/branches.py. Left out: branching where the policy is uncertain, trees
of unlike branches.
"""

from typing import Annotated

import torch
from pydantic import Field

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


@part(writes=("tree", "branch", "fork"), paper="arXiv 2509.06040")
class Fork:
    """Writes `tree`, `branch` and `fork` for fresh rows; a group must have `factor ^ len(steps)` rollouts."""

    steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 3, 6, 9)
    """Steps, counted from 0, at which branches part: each takes its own outcome of that step."""
    factor: Annotated[int, Field(ge=2)] = 2
    """Branches at each fork."""
    correlation: Annotated[float, Field(ge=0, lt=1)] = 1 / 17
    """Correlation of siblings' noise at a fork: 1 / (1 + s^2) with the paper's scale s = 4; 0:
    independent."""

    def __post_init__(self) -> None:
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"steps must differ from one another, got {list(self.steps)}")
        object.__setattr__(self, "steps", tuple(sorted(self.steps)))

    @property
    def leaves(self) -> int:
        """Number of rollouts (leaves) of a tree."""
        return int(self.factor ** len(self.steps))

    @property
    def steps_needed(self) -> int:
        """The calls of the network a policy must make for the latest fork."""
        return max(self.steps) + 2

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises ValueError when a group was asked another number of rollouts than a tree has leaves."""
        group = segments.labels(rollouts.group)
        sizes = torch.bincount(group)
        if wrong := sizes[sizes != self.leaves].tolist():
            raise ValueError(
                f"plan.dress.fork: {self.factor} branches at each of {len(self.steps)} steps make "
                f"{self.leaves} rollouts a group, but the plan asks for {wrong[0]}; "
                f"set plan.count.uniform.n={self.leaves}"
            )
        order = torch.argsort(group, stable=True)
        branch = torch.empty_like(group)
        branch[order] = torch.arange(len(group)) % self.leaves
        fork = (self.steps, self.factor, float(self.correlation))
        first = torch.full((len(sizes),), torch.iinfo(torch.int64).max)
        first.scatter_reduce_(0, group, rollouts.id, "amin")
        return rollouts.put(tree=first[group], branch=branch, fork=[fork] * len(rollouts))
