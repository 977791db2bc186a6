"""What a round costs each rule, estimated from what one drawn rule h let be seen (section 2.4 of the method).

    cost(accept i) = 1 - y_i          known only of those accepted
    cost(reject i) = 1/2              known always: it halves the 0-1 error and needs no label
    a reported pair (a, b)            C more people like a with label 0, C more like b with label 1

The last line is the fairness penalty as people: their cost is C + (C/2)(h(a) - h(b)), so that

    cost(h) = L_C(h) / 2 + (1/2) sum_i (1 - y_i) + C 1[reported],   L_C = error + C (h(a) - h(b))

With weights instead of copies C need not be an integer. Two estimators, both unbiased:

    importance   everything seen is divided by its probability (the literal semi-bandit of 2k + 4C items)
    known        only labels are: reject costs and the penalty are known without drawing (less variance)
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oneloop.fair.panel import Floats, Violation

Estimator = Literal["known", "importance"]
Flags = NDArray[np.bool_]
REJECT = 0.5
"""Cost of a rejection, which makes the costs half the 0-1 error plus a constant."""


@dataclass(frozen=True)
class DecisionCosts:
    """Estimated cost of accepting and of rejecting each of k people, each [k]."""

    accept: Floats
    reject: Floats

    @property
    def net(self) -> Floats:
        """float64 [k], cost of accepting each person minus that of rejecting."""
        return self.accept - self.reject

    def of(self, decisions: NDArray[Any]) -> Floats:
        """float64 [...], total cost of `decisions` [..., k], where 1 is accept."""
        total: Floats = decisions @ self.net + self.reject.sum()
        return total


def estimated(
    chosen: Flags,
    label_cost: Floats,
    weight: Floats,
    violation: Violation | None,
    penalty: float,
    *,
    estimator: Estimator = "known",
    reject_cost: float = REJECT,
) -> DecisionCosts:
    """Costs after deciding `chosen` [k].

    `label_cost` [k]: 1 - y of those accepted whose label is known, read nowhere else. `weight` [k]: one over
    the probability of the decision that was taken, or an estimate of it.
    """
    k = len(chosen)
    accept = np.where(chosen, label_cost * weight, 0.0)
    reject, extra_accept, extra_reject = np.full(k, reject_cost), np.zeros(k), np.zeros(k)
    if violation is not None:
        extra_accept[violation.favoured] = penalty
        extra_reject[[violation.favoured, violation.disfavoured]] = penalty * REJECT
    if estimator == "known":
        return DecisionCosts(accept + extra_accept, reject + extra_reject)
    return DecisionCosts(
        accept + np.where(chosen, extra_accept * weight, 0.0),
        np.where(chosen, 0.0, (reject + extra_reject) * weight),
    )


def true(labels: Floats, violation: Violation | None, penalty: float) -> DecisionCosts:
    """Costs when all `labels` [k] are known: the mean of either estimator."""
    everybody = np.ones(len(labels), dtype=bool)
    return estimated(everybody, 1 - labels, np.ones(len(labels)), violation, penalty)


def error(probs: Floats, labels: Floats) -> float:
    """Expected number of wrong decisions in a round whose people are accepted with `probs` [k]."""
    return float((probs * (1 - labels) + (1 - probs) * labels).sum())


def lagrangian(probs: Floats, labels: Floats, violation: Violation | None, penalty: float) -> float:
    """Error plus C times the gap in probability of the reported pair (L_C)."""
    gap = 0.0 if violation is None else probs[violation.favoured] - probs[violation.disfavoured]
    return error(probs, labels) + penalty * float(gap)
