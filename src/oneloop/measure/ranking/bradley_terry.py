"""Bradley-Terry with ties on a win matrix: the pair marginal of Plackett-Luce, what ONEBench's code fits.

    P(a > b) = sigmoid(theta_a - theta_b),   log-likelihood = sum_ab W[a, b] log P(a > b),   W: see wins.py

At the maximum sum_b W[a, b] - (W[a, b] + W[b, a]) P(a > b) = 0 for all a. It is finite and unique where the
graph of wins is strongly connected (Ford 1957); the prior makes it so everywhere. `scores` splits the
gradient by cell, because the pairs of one sample are no independent observations (errors.py). A whole
ranking broken into all its pairs is consistent; into neighbours only it is not (shrunk), so that is not
offered.
"""

import numpy as np
from scipy.special import expit, log_expit

from oneloop.measure.ranking.newton import Objective
from oneloop.measure.ranking.pool import CellBlock, Floats, Preferences, SamplePool, blocks
from oneloop.measure.ranking.wins import occupied, two_levels


def bradley_terry(wins: Floats) -> Objective:
    """The log-likelihood of a win matrix [m, m], for `newton.maximise`."""
    games, won = wins + wins.T, wins.sum(axis=1)

    def objective(theta: Floats) -> tuple[float, Floats, Floats]:
        gap = theta[:, None] - theta
        chance = expit(gap)
        weight = games * chance * (1 - chance)
        information = np.diag(weight.sum(axis=1)) - weight
        return float((wins * log_expit(gap)).sum()), won - (games * chance).sum(axis=1), information

    return objective


def scores(pool: SamplePool, theta: Floats, tie_weight: float, tie_tolerance: float = 0.0) -> Floats:
    """float64 [c], each cell's share of the gradient at `theta` [m]: wins less expected wins."""
    m = len(theta)
    chance = expit(theta[:, None] - theta)
    found = np.zeros(len(pool.value))
    for block in blocks(pool, max(m // 8, int(pool.measured.max(initial=1))), tie_tolerance):
        dense = two_levels(block) and 8 * block.models.shape[1] > m
        found[block.cells] = (_by_level if dense else _by_pair)(block, chance, tie_weight)
    return found


def _by_pair(block: CellBlock, chance: Floats, tie_weight: float) -> Floats:
    """float64 [b, k], gradients by all pairs of the k cells; needs memory for b k^2 numbers."""
    level = block.level
    tied = level[:, :, None] == level[:, None, :]
    games = np.where(tied, 2 * tie_weight, 1.0)
    diagonal = np.arange(level.shape[1])
    games[:, diagonal, diagonal] = 0
    expected = (games * chance[block.models[:, :, None], block.models[:, None, :]]).sum(axis=2)
    won = (level[:, :, None] > level[:, None, :]).sum(axis=2) + tie_weight * (tied.sum(axis=2) - 1)
    return np.asarray(won - expected)


def _by_level(block: CellBlock, chance: Floats, tie_weight: float) -> Floats:
    """float64 [b, k], gradients where a sample has two levels of scores, by matrix products."""
    row = np.arange(len(block.models))[:, None]
    upper, lower = (occupied(block, block.level == level, len(chance)).astype(np.float64) for level in (1, 0))
    from_upper, from_lower = (side @ chance.T for side in (upper, lower))
    many_upper, many_lower = (side.sum(axis=1, keepdims=True) for side in (upper, lower))
    is_upper = block.level == 1
    same = np.where(is_upper, from_upper[row, block.models], from_lower[row, block.models]) - 0.5
    other = np.where(is_upper, from_lower[row, block.models], from_upper[row, block.models])
    won = is_upper * many_lower + tie_weight * (np.where(is_upper, many_upper, many_lower) - 1)
    return np.asarray(won - other - 2 * tie_weight * same)


def preference_scores(given: Preferences, theta: Floats, tie_weight: float) -> Floats:
    """float64 [q], what each verdict adds to the gradient of its left model, and takes from its right one."""
    chance = expit(theta[given.left] - theta[given.right])
    tie = given.verdict == 0.5
    return np.asarray(given.weight * np.where(tie, tie_weight * (1 - 2 * chance), given.verdict - chance))
