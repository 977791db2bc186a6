"""Auditors who say which of two people was treated too well, and panels of them (arXiv 2206.04475).

    auditor j objects to the ordered pair (a, b)   iff  pi(a) - pi(b) > d_j(a, b) + alpha      (strict)
    a panel of m objects                           iff  at least a share gamma of them does
                                                   iff  pi(a) - pi(b) > d_(s)(a, b) + alpha, s = ceil(gamma m)

d_(s) is the s-th smallest distance of the panel *for that pair*: a panel is one auditor whose index depends
on the pair. Distances need be neither symmetric nor a metric, and learners never see them. Auditors judge the
policy's probabilities pi, never one drawn decision: a drawn accept beside a drawn reject always looks like a
gap of 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Violation:
    """The ordered pair that was reported: `favoured` was accepted more often than `disfavoured` may bear."""

    favoured: int
    disfavoured: int
    gap: float
    """Probability of the favoured person minus that of the disfavoured."""
    votes: int
    """How many auditors object to it."""
    excess: float = 0.0
    """By how much the gap exceeds what the panel allows; 0 where nobody states distances."""


class Auditor(Protocol):
    """An auditor who objects when a gap in probability exceeds a distance of his own."""

    def distances(self, x: Floats) -> Floats:
        """[k, k] in [0, 1], how different the auditor takes each two of the people `x` [k, d] to be."""


class WeightedDistance:
    """d(a, b) = min(1, sum_f weights_f |a_f - b_f|)."""

    def __init__(self, weights: Sequence[float] | Floats):
        self.weights = np.asarray(weights, dtype=np.float64)
        if not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise ValueError(f"weights must be finite and at least 0, got {self.weights.tolist()}")

    def distances(self, x: Floats) -> Floats:
        """[k, k]. Raises ValueError when `x` [k, d] has another number of features than there are weights."""
        if x.shape[1] != len(self.weights):
            raise ValueError(f"weights has {len(self.weights)} numbers for people of {x.shape[1]} features")
        return np.minimum(1.0, np.abs(x[:, None] - x[None]) @ self.weights)


class DistanceFunction:
    """A distance of one's own, called for each ordered pair: `distance(x_a [d], x_b [d])` -> [0, 1]."""

    def __init__(self, distance: Callable[[Floats, Floats], float]):
        self.distance = distance

    def distances(self, x: Floats) -> Floats:
        """Distance of each ordered pair of the people `x` [k, d], float64 [k, k]; 0 on the diagonal."""
        found = np.zeros((len(x), len(x)))
        for a in range(len(x)):
            for b in range(len(x)):
                if a != b:
                    found[a, b] = self.distance(x[a], x[b])
        return found


class AuditorPanel:
    """Auditors by distance; reports one pair to which enough of them object, or none."""

    def __init__(
        self,
        auditors: Sequence[Auditor],
        *,
        alpha: float,
        gamma: float,
        report: Literal["worst", "first"] = "worst",
    ):
        """`report`: of several such pairs, the one that exceeds its bound most, or the first in row order."""
        check_panel(len(auditors), alpha, gamma)
        self.auditors, self.alpha, self.gamma, self.report = list(auditors), alpha, gamma, report

    @property
    def needed(self) -> int:
        """Number s of auditors who must object."""
        return needed(self.gamma, len(self.auditors))

    def distances(self, x: Floats) -> Floats:
        """Distances of the m auditors, [m, k, k]. Raises ValueError for one outside of [0, 1], naming it."""
        found = np.stack([auditor.distances(x) for auditor in self.auditors])
        bad = np.argwhere(~((found >= 0) & (found <= 1)))  # NaN included
        if len(bad):
            j, a, b = bad[0]
            raise ValueError(
                f"distances must be in [0, 1]: auditor {j} gives {found[j, a, b]} between {a} and {b}"
            )
        return found

    def effective_distance(self, x: Floats) -> Floats:
        """[k, k], the s-th smallest distance of the panel for each ordered pair of the people `x` [k, d]."""
        return order_statistic(self.distances(x), self.needed)

    def audit(self, probs: Floats, x: Floats) -> Violation | None:
        """The pair the panel reports of the people `x` [k, d], accepted with probabilities `probs` [k].

        Raises ValueError for probabilities or distances outside of [0, 1].
        """
        if not ((probs >= 0) & (probs <= 1)).all():
            raise ValueError(f"probs must be in [0, 1], got {probs.tolist()}")
        distances = self.distances(x)
        gap = probs[:, None] - probs[None]
        excess = gap - order_statistic(distances, self.needed) - self.alpha
        if not (excess > 0).any():
            return None
        place = excess.argmax() if self.report == "worst" else (excess > 0).argmax()
        a, b = (int(index) for index in np.unravel_index(place, excess.shape))
        votes = int((gap[a, b] > distances[:, a, b] + self.alpha).sum())
        return Violation(a, b, float(gap[a, b]), votes, float(excess[a, b]))


class Reporters:
    """Auditors who only report: each `auditor(probs [k], x [k, d])` gives an ordered pair or None.

    A pair counts when at least a share gamma of the panel reports it; of several, the one with most reports,
    then the first.
    """

    def __init__(self, auditors: Sequence[Callable[[Floats, Floats], Pair | None]], *, gamma: float):
        check_panel(len(auditors), 0.0, gamma)
        self.auditors, self.gamma = list(auditors), gamma

    def audit(self, probs: Floats, x: Floats) -> Violation | None:
        """The pair reported. Raises ValueError for one that is no pair of people, or without a gap."""
        votes: dict[Pair, int] = {}
        for number, auditor in enumerate(self.auditors):
            pair = auditor(probs, x)
            if pair is not None:
                checked = check_pair(pair, probs, f"auditor {number}")
                votes[checked] = votes.get(checked, 0) + 1
        enough = {
            pair: count for pair, count in votes.items() if count >= needed(self.gamma, len(self.auditors))
        }
        if not enough:
            return None
        (a, b), count = min(enough.items(), key=lambda item: (-item[1], item[0]))
        return Violation(a, b, float(probs[a] - probs[b]), count)


def needed(gamma: float, size: int) -> int:
    """Least number of auditors that is a share `gamma` of `size`; rounding errors aside: 2/3 of 3 are 2."""
    return max(1, math.ceil(gamma * size - 1e-9))


def order_statistic(distances: Floats, s: int) -> Floats:
    """[k, k], the s-th smallest (from 1) of `distances` [m, k, k] for each pair."""
    ordered: Floats = np.partition(distances, s - 1, axis=0)[s - 1]
    return ordered


def check_panel(size: int, alpha: float, gamma: float) -> None:
    """Raises ValueError naming the argument that is out of range."""
    if size < 1:
        raise ValueError("auditors: a panel needs at least one, got 0")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must be in (0, 1], got {gamma}")
    if not (alpha >= 0 and math.isfinite(alpha)):
        raise ValueError(f"alpha must be at least 0, got {alpha}")


def check_pair(pair: Pair, probs: Floats, who: str) -> Pair:
    """`pair` as two integers. Raises ValueError unless it names two people, the first accepted more often."""
    a, b = int(pair[0]), int(pair[1])
    if a == b or not (0 <= a < len(probs) and 0 <= b < len(probs)):
        raise ValueError(f"{who} reports the pair ({a}, {b}); it must name two of {len(probs)} people")
    if not probs[a] > probs[b]:
        raise ValueError(
            f"{who} reports the pair ({a}, {b}), but {a} is accepted with {probs[a]:.6g}, "
            f"{b} with {probs[b]:.6g}: the first must be favoured"
        )
    return a, b
