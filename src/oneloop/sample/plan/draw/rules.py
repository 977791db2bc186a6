"""Learning progress: draw more often what still improves (ShiftNAS, arXiv 2307.08300). Pure functions.

K things   p [K] probabilities   dL [K] change of the loss of each since it was last looked at

    shift   J(b) = sum_k p_k dL_k, p = softmax(b):   dJ/db_j = p_j (dL_j - sum_k p_k dL_k), descended by Adam
    rate    p_k ~ max(-EMA of dL_k / draws_k, 0)^power

Both draw more often what improves more than the others. `shift` is the paper's: dL is not divided by the
number of draws, so what is drawn often improves more and is drawn more often still, and Adam's steps have
one size however small the differences are. `rate` divides. Left out: the norm of the gradient of the loss
(the paper's equation 5 read literally), which prefers what has converged.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
BETAS = (0.9, 0.999)
EPSILON = 1e-8


def uniform(size: int) -> Numbers:
    """[K] equal probabilities."""
    return np.full(size, 1 / size)


def softmax(logits: Numbers) -> Numbers:
    """[K] probabilities of logits [K]."""
    powers: Numbers = np.exp(logits - logits.max())
    powers /= powers.sum()
    return powers


def shift_gradient(probabilities: Numbers, change: Numbers) -> Numbers:
    """[K], gradient in the logits of the expected change of the loss; it adds up to 0."""
    return probabilities * (change - probabilities @ change)


@dataclass
class Adam:
    """Adam (arXiv 1412.6980) over logits [K], minimising."""

    logits: Numbers
    rate: float
    """Learning rate."""
    first: Numbers = field(init=False)
    second: Numbers = field(init=False)
    steps: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.first, self.second = np.zeros_like(self.logits), np.zeros_like(self.logits)

    def step(self, gradient: Numbers) -> None:
        """One step down `gradient` [K]."""
        self.steps += 1
        self.first = BETAS[0] * self.first + (1 - BETAS[0]) * gradient
        self.second = BETAS[1] * self.second + (1 - BETAS[1]) * gradient**2
        mean = self.first / (1 - BETAS[0] ** self.steps)
        size = np.sqrt(self.second / (1 - BETAS[1] ** self.steps))
        self.logits = self.logits - self.rate * mean / (size + EPSILON)


def per_draw(change: Numbers, drawn: Numbers) -> Numbers:
    """[K], improvement of each in one draw: -dL / draws; NaN for what was not drawn."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(drawn > 0, -change / drawn, np.nan)


def smoothed(average: Numbers, value: Numbers, keep: float) -> Numbers:
    """[K], `keep` of the `average` and the rest of the `value`; the first value counts whole, NaN nothing."""
    moved = np.where(np.isnan(average), value, keep * average + (1 - keep) * value)
    return np.where(np.isnan(value), average, moved)


def by_rate(improvement: Numbers, power: float = 1.0) -> Numbers:
    """[K], probabilities proportional to the positive part of `improvement` [K] to the `power`.

    What is not known yet (NaN) counts as the mean of the others. Uniform when nothing improves.
    """
    known = ~np.isnan(improvement)
    if not known.any():
        return uniform(len(improvement))
    gain = np.maximum(np.where(known, improvement, improvement[known].clip(0).mean()), 0.0)
    if not gain.max() > 0:
        return uniform(len(improvement))
    weight: Numbers = np.where(gain > 0, (gain / gain.max()) ** power, 0.0)
    weight /= weight.sum()
    return weight


def with_floor(probabilities: Numbers, floor: float) -> Numbers:
    """[K], a share `floor` of the draws spread evenly, so that nothing is less likely than floor / K."""
    return (1 - floor) * probabilities + floor / len(probabilities)


def entropy(probabilities: Numbers) -> float:
    """Nats; log K when all are alike, 0 when one has all."""
    held = probabilities[probabilities > 0]
    return float(-(held * np.log(held)).sum())
