"""Elo ratings: one pass over games in a stated order (a baseline; the order changes the result).

    r_a += K (outcome - 1 / (1 + 10^((r_b - r_a) / 400)))

K = 4 and a start at 1000 are those of the paper's baseline, which passes over games in whatever order a
data frame gave them. With millions of games the last ones dominate: it is the one method that gets better
with less.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from oneloop.core import draws
from oneloop.measure.ranking.pool import Floats, Integers, RankingError, SamplePool, blocks

MOST_GAMES = 20_000_000


def elo(
    games: Iterable[tuple[int, int, float]],
    m: int,
    k: float = 4.0,
    start: float = 1000.0,
    scale: float = 400.0,
) -> Floats:
    """float64 [m], ratings after `games` (left, right, outcome for left: 1, 0 or 0.5), in that order."""
    ratings, slope, exp = [start] * m, math.log(10) / scale, math.exp
    for left, right, outcome in games:
        change = k * (outcome - 1 / (1 + exp(slope * (ratings[right] - ratings[left]))))
        ratings[left] += change
        ratings[right] -= change
    return np.array(ratings)


def shuffled_games(
    pool: SamplePool, seed: int, tie_tolerance: float = 0.0
) -> Iterator[tuple[int, int, float]]:
    """Every pair of measurements of a sample and every preference as a game, in an order drawn with `seed`.

    Raises RankingError above 20 million games, because they must be held at once.
    """
    sizes = pool.measured.astype(np.int64)
    many = int((sizes * (sizes - 1) // 2).sum()) + len(pool.preferences)
    if many > MOST_GAMES:
        raise RankingError(
            f"elo plays game by game, and {many:,} games are more than {MOST_GAMES:,}; sparsify the pool"
        )
    pieces: list[tuple[Integers, Integers, Floats]] = []
    for block in blocks(pool, tie_tolerance=tie_tolerance):
        low, high = np.triu_indices(block.models.shape[1], 1)
        outcome = np.where(block.level[:, high] > block.level[:, low], 1.0, 0.5)
        pieces.append((block.models[:, high].ravel(), block.models[:, low].ravel(), outcome.ravel()))
    given = pool.preferences
    pieces.append((given.left, given.right, given.verdict))
    left, right, outcome = (np.concatenate(column) for column in zip(*pieces, strict=True))
    order = np.argsort(draws.uniforms(draws.mix(seed, "elo"), np.arange(many)), kind="stable")
    return zip(left[order].tolist(), right[order].tolist(), outcome[order].tolist(), strict=True)
