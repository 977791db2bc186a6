"""Plackett-Luce on whole weak orders, by Newton; equals Bradley-Terry where samples have two measurements.

    P(order) = prod_stages w_a / (w_a + sum of w below a),   w = exp(theta)

Every model that has something below it wins one stage against all of that. Without ties this is the law of
Plackett (1975) and Luce (1959); members of a tie each win their own stage and say nothing of one another,
so a binary sample is every 1 against the list of all 0s. Preferences enter as Bradley-Terry games
(bradley_terry.py).
"""

from dataclasses import dataclass

import numpy as np

from oneloop.measure.ranking.bradley_terry import bradley_terry
from oneloop.measure.ranking.newton import Objective
from oneloop.measure.ranking.pool import MOST, CellBlock, Floats, Integers, SamplePool, blocks
from oneloop.measure.ranking.wins import add_preferences


def plackett_luce(pool: SamplePool, tie_weight: float, tie_tolerance: float = 0.0) -> Objective:
    """The log-likelihood of a pool, for `newton.maximise`; `tie_weight` is that of tied preferences."""
    m = len(pool.models)
    wins, ties = np.zeros((m, m)), np.zeros((m, m))
    add_preferences(pool, wins, ties)
    of_preferences = bradley_terry(wins + tie_weight * ties)

    def objective(theta: Floats) -> tuple[float, Floats, Floats]:
        value, gradient, information = of_preferences(theta)
        for block in blocks(pool, tie_tolerance=tie_tolerance):
            stages = at(block, theta)
            value += float((theta[block.models] - np.log(stages.total) - theta.max()).sum())
            gradient = gradient + np.bincount(block.models.ravel(), stages.gradient.ravel(), m)
            information = information + _information(block.models, stages, m)
        return value, gradient, information

    return objective


@dataclass(frozen=True)
class Stages:
    """The stages of b samples of k models, all [b, k]."""

    weight: Floats
    """Strength of each cell's model, exp(theta - max theta)."""
    total: Floats
    """The cell's own weight plus all weights below it: its stage's denominator."""
    over: Floats
    """Sum of 1/total over the cells above."""
    over_squared: Floats
    """Sum of 1/total^2 over the cells above."""
    level: Integers
    """Level of the score, 0 for the worst of a sample."""

    @property
    def gradient(self) -> Floats:
        """Wins minus expected wins, of each cell on its sample."""
        return 1 - self.weight / self.total - self.weight * self.over


def at(block: CellBlock, theta: Floats) -> Stages:
    """Stages under `theta` [m]. A cell of the lowest level has nothing below: its stage is certain."""
    weight = np.exp(theta - theta.max())[block.models]
    level = block.level
    place = np.broadcast_to(np.arange(level.shape[1]), level.shape)
    new = np.diff(level, axis=1, prepend=-1) > 0
    last = np.diff(level, axis=1, append=level[:, -1:] + 1) > 0
    first_of_level = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    backwards = np.where(last, place, level.shape[1] - 1)[:, ::-1]
    last_of_level = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    below = np.take_along_axis(weight.cumsum(axis=1) - weight, first_of_level, axis=1)
    total = weight + np.where(level > 0, below, 0)

    def above(values: Floats) -> Floats:
        sums = values[:, ::-1].cumsum(axis=1)[:, ::-1] - values
        return np.take_along_axis(sums, last_of_level, axis=1)

    return Stages(weight, total, above(1 / total), above(1 / total**2), level)


def _information(models: Integers, stages: Stages, m: int) -> Floats:
    """float64 [m, m]: sum over stages of diag(q) - q q^T, q the chances in that stage."""
    low, high = np.triu_indices(models.shape[1], 1)
    sums = np.zeros(m * m)
    own = stages.over_squared + 1 / stages.total**2
    step = max(1, MOST // len(low))
    for begin in range(0, len(models), step):
        rows = slice(begin, begin + step)
        weight, level = stages.weight[rows], stages.level[rows]
        # both are in the stages above the higher one, and in its own unless they are tied
        shared = np.where(
            level[:, high] > level[:, low], own[rows][:, high], stages.over_squared[rows][:, high]
        )
        product = -weight[:, low] * weight[:, high] * shared
        sums += np.bincount(
            (models[rows][:, high] * m + models[rows][:, low]).ravel(), product.ravel(), m * m
        )
    diagonal = stages.weight * (stages.over + 1 / stages.total) - stages.weight**2 * own
    made = sums.reshape(m, m)
    return made + made.T + np.diag(np.bincount(models.ravel(), diagonal.ravel(), m))


def scores(pool: SamplePool, theta: Floats, tie_tolerance: float = 0.0) -> Floats:
    """float64 [c], each cell's share of the gradient at `theta` [m]."""
    found = np.zeros(len(pool.value))
    for block in blocks(pool, tie_tolerance=tie_tolerance):
        found[block.cells] = at(block, theta).gradient
    return found
