"""Leave out the groups that teach nothing: all their rewards are equal, so every advantage is 0.

Dynamic sampling of DAPO (arXiv 2503.14476) without the refill: groups that are left out are not replaced here
(a plan's `keep` does that). What changes is the denominator, which no longer counts their actions.
"""

from typing import Literal

from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


def mixed(reward: Tensor, group: Tensor | None = None) -> Tensor:
    """bool, whether the rollout has a verdict and its group has two different ones. NaN is no verdict.

    `reward` [n] with labels `group` [n], or [B, G], one group a row.

    >>> mixed(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [[True, True], [False, False]]
    """
    values, by = segments.flat(reward, group)
    return (~segments.constant(values, by) & ~values.isnan()).view(reward.shape)


def mixed_tokens(flaw: Tensor, group: Tensor | None = None) -> Tensor:
    """bool, whether two tokens of the group differ in `flaw` [N]; NaN (unknown) is no flaw.

    Flaws [B, ...] without labels: one group a row.
    """
    values, by = segments.flat(flaw, group)
    return ~segments.constant(values.nan_to_num(0.0), by).view(flaw.shape)


def _reads(self: "MixedGroups") -> tuple[str, ...]:
    return ("reward", "actions.share", *(("actions.flaw",) if self.by == "token" else ()))


@part(reads=_reads, writes=("actions.share",), paper="arXiv 2503.14476")
class MixedGroups:
    """Share 0 for groups whose rewards are all equal, and for rollouts without a verdict."""

    by: Literal["reward", "token"] = "reward"
    """reward: groups whose rewards differ stay; token: also groups whose tokens differ in `flaw` (CAPO)."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares; an action stays while one rollout through it does."""
        keep = rollouts.spread(mixed(rollouts.reward, rollouts.group).double()) > 0
        if self.by == "token":
            judged = rollouts.spread((~rollouts.reward.isnan()).double()) > 0
            flaw = rollouts.actions.flaw.where(judged, 0.0)
            keep |= judged & mixed_tokens(flaw, rollouts.group[rollouts.owner])
        return rollouts.put_actions(share=rollouts.actions.share * keep)
