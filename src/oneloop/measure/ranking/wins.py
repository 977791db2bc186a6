"""From cells to a win matrix, block by block: no list of pairs is ever held (ONEBench, to_pairwise).

    W[a, b] = #(a beats b) + tau #(ties of a and b)

over all samples both were measured on and all preferences. A tie counts `tau` wins to each side: with tau =
1, the paper's code, as two games; with tau = 1/2 as one. Samples with two levels (binary scores) that many
models were measured on are one matrix product, masked S (1 - S)^T; all others are counted in blocks of
bounded size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oneloop.measure.ranking.pool import MOST, CellBlock, Floats, SamplePool, blocks


@dataclass(frozen=True)
class WinCounts:
    """Outcomes between m models."""

    wins: Floats
    """float64 [m, m], how often the row's model beat the column's."""
    ties: Floats
    """float64 [m, m], how often two models tied; symmetric, diagonal 0."""

    @property
    def games(self) -> Floats:
        """float64 [m, m], how often two models were compared."""
        return self.wins + self.wins.T + self.ties

    def win_matrix(self, tie_weight: float = 1.0) -> Floats:
        """Weighted wins W, float64 [m, m]."""
        return self.wins + tie_weight * self.ties

    @property
    def win_rate(self) -> Floats:
        """float64 [m, m], share of games the row's model won, a tie half; NaN where there were none."""
        games = self.games
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(games > 0, (self.wins + self.ties / 2) / games, np.nan)


def count(pool: SamplePool, tie_tolerance: float = 0.0) -> WinCounts:
    """All outcomes in the pool; scores of one sample within `tie_tolerance` are ties."""
    m = len(pool.models)
    wins, ties = np.zeros((m, m)), np.zeros((m, m))
    for block in blocks(pool, width=max(1, m // 8), tie_tolerance=tie_tolerance):
        add = add_levels if two_levels(block) and 8 * block.models.shape[1] > m else add_pairs
        add(block, wins, ties)
    add_preferences(pool, wins, ties)
    return WinCounts(wins, ties)


def two_levels(block: CellBlock) -> bool:
    """Are there at most two different scores in every sample?"""
    return int(block.level[:, -1].max()) <= 1


def occupied(block: CellBlock, cells: NDArray[np.bool_], m: int) -> NDArray[np.float32]:
    """float32 [b, m]: 1 where a sample has one of `cells` [b, k] for a model."""
    made = np.zeros((len(block.models), m), dtype=np.float32)
    row, place = np.nonzero(cells)
    made[row, block.models[row, place]] = 1
    return made


def add_levels(block: CellBlock, wins: Floats, ties: Floats) -> None:
    """Two levels: products of who is on the upper and who on the lower one (exact: counts below 2^24)."""
    upper, lower = (occupied(block, block.level == level, len(wins)) for level in (1, 0))
    wins += upper.T @ lower
    same = upper.T @ upper + lower.T @ lower
    np.fill_diagonal(same, 0)
    ties += same


def add_pairs(block: CellBlock, wins: Floats, ties: Floats) -> None:
    """Any number of levels: every pair of places, some samples at a time."""
    m, k = len(wins), block.models.shape[1]
    low, high = np.triu_indices(k, 1)
    step = max(1, MOST // len(low))
    for begin in range(0, len(block.models), step):
        models, level = block.models[begin : begin + step], block.level[begin : begin + step]
        pair = models[:, high] * m + models[:, low]
        decided = level[:, high] > level[:, low]
        wins += np.bincount(pair[decided], minlength=m * m).reshape(m, m)
        level_with = np.bincount(pair[~decided], minlength=m * m).reshape(m, m)
        ties += level_with + level_with.T


def add_preferences(pool: SamplePool, wins: Floats, ties: Floats) -> None:
    """Adds each verdict with its weight to `counts`."""
    m, given = len(wins), pool.preferences
    if not len(given):
        return
    # one pass over all verdicts: 0 the right one won, 1 a tie, 2 the left one won
    cell = (given.left * m + given.right) * 3 + (2 * given.verdict).astype(np.int64)
    counted = np.bincount(cell, given.weight, 3 * m * m).reshape(m, m, 3)
    wins += counted[:, :, 2] + counted[:, :, 0].T
    ties += counted[:, :, 1] + counted[:, :, 1].T
