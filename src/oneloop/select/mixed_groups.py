"""Leave out the groups that teach nothing: all their rewards are equal, so every advantage is 0.

Dynamic sampling of DAPO (arXiv 2503.14476) without the refill: groups that are left out are not replaced here
(a plan's `keep` does that). What changes is the denominator, which no longer counts their actions.
"""

from torch import Tensor

from oneloop import segments
from oneloop.part import part
from oneloop.rollouts import Rollouts


def mixed(reward: Tensor, group: Tensor) -> Tensor:
    """bool [n], whether the rollout has a verdict and its group has two different ones. NaN is no verdict."""
    return ~segments.constant(reward, group) & ~reward.isnan()


@part(reads=("reward", "actions.share"), writes=("actions.share",), paper="arXiv 2503.14476")
class MixedGroups:
    """Share 0 for groups whose rewards are all equal, and for rollouts without a verdict."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares; an action stays while one rollout through it does."""
        keep = rollouts.spread(mixed(rollouts.reward, rollouts.group).double()) > 0
        return rollouts.put_actions(share=rollouts.actions.share * keep)
