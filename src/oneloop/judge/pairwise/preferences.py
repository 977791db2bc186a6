"""Pairs from scores, the loss of a judge that compares, and what is wrong with one that looks at the order.

    L = -1/2 E [ log P(yes | winner, loser, q) + log P(no | loser, winner, q) ]        (OneReward, Eq. 3)

If log P(yes) - log P(no) = f(first) - f(second) and the two sum to 1, L is Bradley-Terry's -log sigma(f(w) -
f(l)). Of N candidates scored by one criterion the best and the worst make the pair (Section 2.2): labels are
cleaner than those of random pairs, and accuracies on such pairs are flattered.
"""

import torch
from torch import Tensor


def judge_loss(yes_in_order: Tensor, no_swapped: Tensor) -> Tensor:
    """Scalar: both orders of each pair, always. `yes_in_order` [b] = log P(yes | winner, loser), `no_swapped`
    [b] = log P(no | loser, winner). Raises ValueError without a pair."""
    if not len(yes_in_order):
        raise ValueError("a judge learns from pairs, got none: every comparison was a tie or had no score")
    return -0.5 * (yes_in_order + no_swapped).mean()


def best_worst_pairs(scores: Tensor, least_gap: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """(winner [g], loser [g], clear [g]) of g sets of N candidates with `scores` [g, N].

    `clear` is False, and the set to be dropped, where the gap is not above `least_gap` (so never a tie) or a
    score is NaN. Raises ValueError for fewer than two candidates.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"scores must be [sets, candidates >= 2], got {list(scores.shape)}")
    known = ~scores.isnan().any(1)
    filled = scores.nan_to_num(0.0)
    winner, loser = filled.argmax(1), filled.argmin(1)
    gap = filled.gather(1, winner[:, None]) - filled.gather(1, loser[:, None])
    return winner, loser, known & (gap[:, 0] > least_gap)


def antisymmetric(forward: Tensor, swapped: Tensor) -> Tensor:
    """.5 [p(a, b) + 1 - p(b, a)]: what a judge says when its favour for a place is averaged away."""
    return 0.5 * (forward + 1 - swapped)


def position_bias(forward: Tensor, swapped: Tensor) -> Tensor:
    """Mean of p(a, b) + p(b, a) - 1 over pairs: above 0 the first place is favoured, below 0 the second."""
    return (forward + swapped - 1).mean()


def wins(first: Tensor, second: Tensor) -> Tensor:
    """1 where `first` scores higher, 0 where lower, .5 at a tie, NaN where either is NaN."""
    won = torch.where(first == second, 0.5, (first > second).to(torch.float64))
    return torch.where(first.isnan() | second.isnan(), torch.nan, won)
