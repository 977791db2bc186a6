"""Novelty-guided sharpening: rare but correct rollouts get more advantage (XRPO, arXiv 2510.06672, eq. 6).

    s = mean over the rollout of log p      eta = exp(s - mean of s over the group)       eta < 1: novel
    advantage+ = advantage + min(max(weight * (1 - eta), 0), clip * advantage)          correct rollouts only

What is boosted stays between A and (1 + clip) A, so equal rewards stay at 0: novelty cannot make a signal.
Only correct rollouts are touched, only where their advantage is positive: unmasked, the formula turns every
negative A into (1 + clip) A, whatever its novelty; with |A| it rewards wrong answers for being novel.
Boosted advantages no longer sum to zero and are not centred again; whiten before, not after. GRPO is clip 0.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


def novelty(score: Tensor, group: Tensor | None = None, counted: Tensor | None = None) -> Tensor:
    """float64, exp(score - mean score of the group) of mean log-probabilities `score` [n].

    Scores [B, G] without labels are compared row by row. 1 where there is no finite score (a rollout without
    actions) or nothing to compare with. `counted` (bool, of the scores' shape) marks the scores in the mean
    (default: all). Adding a number to every score of a group changes nothing.

    >>> novelty(torch.tensor([[-0.5, -0.7]]))
    tensor([[1.1052, 0.9048]], dtype=torch.float64)
    """
    shape = score.shape
    score, group = segments.flat(score, group)
    exact = score.double()
    counted = None if counted is None else counted.reshape(-1)
    exact = torch.where(exact.isfinite(), exact, torch.nan)
    known = exact if counted is None else torch.where(counted, exact, torch.nan)
    return (exact - segments.mean(known, group)).nan_to_num(0.0).exp().view(shape)


def boost(advantage: Tensor, bonus: Tensor, clip: float) -> Tensor:
    """What is added to `advantage`: `bonus` within 0 and `clip` * advantage; 0 where A is not positive.

    Both are of one shape.

    >>> boost(torch.tensor([1.0, -1.0]), torch.tensor([0.9, 0.9]), clip=0.5)
    tensor([0.5000, 0.0000])
    """
    capped = torch.minimum(bonus.clamp(min=0), clip * advantage)
    return torch.where(advantage > 0, capped, 0.0)


@part(
    reads=lambda self: ("actions.advantage", f"actions.{self.likelihood}", "correct"),
    writes=("actions.advantage", "novelty"),
    units=("nats", "nats_per_dim"),
    paper="arXiv 2510.06672",
)
class Novelty:
    """Writes `actions.advantage`, float32 [N], and `novelty` (eta), float64 [n].

    Rollouts sampled after different numbers of solved examples (`seeded`) are compared among themselves: a
    likelihood under another prompt says nothing about novelty.
    """

    weight: Annotated[float, Field(ge=0)] = 2.5
    """Advantage gained by a rollout of likelihood 0, before the clip; 0: no bonus."""
    clip: Annotated[float, Field(ge=0)] = 0.5
    """Largest gain, as a share of the advantage; 0: no bonus (GRPO)."""
    likelihood: Literal["logprob", "proximal"] = "logprob"
    """Log-probs used: those of the law sampled from, or of the weights at the start of this update."""
    among: Literal["all", "correct"] = "all"
    """Rollouts over which the mean likelihood is taken: the whole group, or its correct ones."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with sharpened advantages; those of rollouts that are not correct stay bit for bit."""
        right = rollouts.correct.double() == 1
        score = rollouts.gather(rollouts.actions[self.likelihood].double())
        group = rollouts.group
        if "seeded" in rollouts:
            group = segments.labels(group, rollouts["seeded"])
        eta = novelty(score, group, right if self.among == "correct" else None)
        bonus = torch.where(right, self.weight * (1 - eta).clamp(min=0), 0.0)
        advantage = rollouts.actions.advantage
        gain = boost(advantage.double(), rollouts.spread(bonus), self.clip)
        sharpened = torch.where(gain > 0, advantage.double() + gain, advantage.double())
        return rollouts.put(novelty=eta).put_actions(advantage=sharpened.float())
