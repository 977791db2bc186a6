"""Supervised fine-tuning on answers of unlike length: an answer of n tokens weighs sqrt(n) (InternVL 2.5).

    mean: action of `supervised`     an answer weighs n: long answers rule
    square_averaged                  an answer weighs sqrt(n)
    mean: rollout of `supervised`    an answer weighs 1: tokens of long answers count little

TokenFLEX trains so. Four tokens of loss 1 and one of loss 2 give (sqrt(4) + 2) / (sqrt(4) + 1) = 4/3, where
the mean of tokens is 6/5 and the mean of answers 3/2.
"""

import torch
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts


def square_root_shares(kept: Tensor, row: Tensor, action: Tensor) -> Tensor:
    """float64 [N], how much each action counts beside the others: 1 / sqrt(kept actions of its rollout), in
    units of the mean over kept actions; 0 for an action that is left out.

    kept: bool [N]; row, action: int64 [P], pairs of a rollout and an action on its path. An action that
    several rollouts share has the sum of their weights.

    >>> everything = torch.ones(5, dtype=torch.bool)
    >>> square_root_shares(everything, torch.tensor([0, 0, 0, 0, 1]), torch.arange(5))
    tensor([0.8333, 0.8333, 0.8333, 0.8333, 1.6667], dtype=torch.float64)
    """
    counts = kept.double()
    each = row.bincount(weights=counts[action]).clamp(min=1).rsqrt()
    share = counts * torch.zeros_like(counts).index_add_(0, action, each[row])
    return share * (counts.sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny))


@part(writes=("actions.nll",), paper="arXiv 2504.03154; InternVL 2.5, arXiv 2412.05271")
class SquareAveraged:
    """Negative log-likelihood of every kept action; a rollout weighs the square root of its length."""

    # the learner's own mean over actions, on losses that are scaled: shares are those of the whole optimiser
    # step, so that micro-batches and ranks change nothing
    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `nll`, which is not scaled)."""
        nll = -here.logprob
        share = square_root_shares(rollouts.actions.share > 0, *rollouts.paths)
        return nll * share[actions].to(nll), {"nll": nll.detach()}
