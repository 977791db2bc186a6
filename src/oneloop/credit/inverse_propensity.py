"""Advantages from verdicts that were bought with a known probability: each weighs 1 / probability.

    weight = min(1 / propensity, cap)     baseline = sum weight r / sum weight, over verdicts there are
    advantage = weight (r - baseline)           NaN without a verdict

Summed over all rollouts of a batch, those without a verdict included (give the objective `over: all`), this
estimates what credit by `r - baseline` would have been with every verdict paid for (Horvitz and Thompson;
the baseline is Hajek's mean, so its bias falls with the number of verdicts). The propensities are those of
the judge `one_sided`; with all of them 1 this is group_relative with centre mean and scale none.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


def inverse_propensity(
    reward: Tensor, propensity: Tensor, group: Tensor | None = None, cap: float = 20.0
) -> Tensor:
    """float64, the advantage of each of `reward` [n] (NaN: no verdict) within its `group` [n].

    Rewards [B, G] without labels are compared row by row; `propensity` has the rewards' shape. Exactly 0
    where all verdicts of the group are equal. Raises ValueError for a propensity outside (0, 1].

    >>> inverse_propensity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 1.0]]))
    tensor([[ 0.6667, -0.6667]], dtype=torch.float64)
    """
    shape = reward.shape
    reward, group = segments.flat(reward, group)
    propensity = propensity.reshape(-1)
    known = ~reward.isnan()
    bad = known & ~((propensity > 0) & (propensity <= 1))
    if bool(bad.any()):
        raise ValueError(
            f"propensity of a rollout with a verdict must be in (0, 1], got {propensity[bad][0]}"
        )
    verdict = reward.double()
    weight = torch.where(known, 1 / propensity.double(), torch.nan).clamp(max=cap)
    baseline = segments.total(weight * verdict, group) / segments.total(weight, group)
    equal = segments.constant(verdict, group)
    return torch.where(known & equal, 0.0, weight * (verdict - baseline)).view(shape)


@part(reads=("reward", "propensity"), writes=("actions.advantage",), paper="arXiv 2206.04475")
class InversePropensity:
    """Writes `actions.advantage`, float32 [N]; NaN for rollouts without a verdict."""

    by: Literal["group", "batch"] = "group"
    """Verdicts in the baseline: the group's, or the batch's (better with few verdicts per group)."""
    cap: Annotated[float, Field(ge=1)] = 20.0
    """Largest weight of a verdict: bounds the variance, and biases rarely chosen rollouts towards 0."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with advantages."""
        group = rollouts.group if self.by == "group" else torch.zeros_like(rollouts.group)
        advantage = inverse_propensity(rollouts.reward, rollouts["propensity"], group, self.cap)
        judged = ~advantage.isnan()
        spread = rollouts.spread(advantage.nan_to_num(0.0)) / rollouts.spread(judged.to(advantage.dtype))
        return rollouts.put_actions(advantage=spread.float())
