"""Who could have done best, knowing everything: the best rule, and the best *fair* mixture of rules.

    min over p in Delta(H) of  error . p      s.t.  (h(x_a) - h(x_b)) . p <= d_(s)(x_a, x_b) + alpha

for every ordered pair of every round: a linear program, solved by HiGHS with cutting planes, since of the T
k^2 rows a few hundred bind. Regret is measured against it; auditors' distances are needed, so it is for
accounting and never for a learner.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from oneloop.fair.costs import Flags
from oneloop.fair.panel import Floats

WORST = 80
"""Violated constraints added to the linear program at a time."""
TOLERANCE = 1e-9


@dataclass(frozen=True)
class FairOptimum:
    """The best fair policy in hindsight."""

    law: Floats
    """float64 [N], probability of each rule."""
    error: float
    """Expected share of wrong decisions."""
    rows: int
    """Constraints the linear program needed."""
    passes: int
    """How often the linear program was solved."""


def rule_errors(decisions: Flags, labels: Floats) -> Floats:
    """float64 [N], share of wrong decisions of each rule; decisions [N, T, k], labels [T, k]."""
    wrong: Floats = np.where(decisions, 1 - labels, labels).mean(axis=(1, 2))
    return wrong


def best_fair_in_hindsight(
    decisions: Flags, labels: Floats, distance: Floats, alpha: float, most_passes: int = 100
) -> FairOptimum:
    """The mixture of the N rules with fewest errors that violates nothing in any of the T rounds.

    decisions bool [N, T, k], labels [T, k], distance [T, k, k] (the panel's effective one). Raises ValueError
    where no mixture is fair (impossible with a constant among the rules), RuntimeError when HiGHS gives up.
    """
    count = len(decisions)
    flat = decisions.reshape(count, -1).astype(np.float32)
    cost = rule_errors(decisions, labels)
    rows: NDArray[np.float64] = np.zeros((0, count))
    bounds: NDArray[np.float64] = np.zeros(0)
    for number in range(1, most_passes + 1):
        found = linprog(
            cost,
            A_ub=rows if len(rows) else None,
            b_ub=bounds if len(rows) else None,
            A_eq=np.ones((1, count)),
            b_eq=[1.0],
            bounds=(0, None),
            method="highs",
        )
        if found.status == 2:
            raise ValueError(f"no mixture of the {count} rules is fair at alpha {alpha}")
        if found.status != 0:
            raise RuntimeError(f"the linear program was not solved: {found.message}")
        law = np.clip(found.x, 0, None) / np.clip(found.x, 0, None).sum()
        probs = (law @ flat).reshape(labels.shape)
        excess = probs[:, :, None] - probs[:, None, :] - distance - alpha
        worst = np.argsort(excess, axis=None)[::-1][:WORST]
        t, a, b = np.unravel_index(worst[excess.ravel()[worst] > max(TOLERANCE, 1e-7)], excess.shape)
        if not len(t):
            return FairOptimum(law, float(cost @ law), len(rows), number)
        new = decisions[:, t, a].astype(np.float64) - decisions[:, t, b]
        rows = np.concatenate([rows, new.T])
        bounds = np.concatenate([bounds, distance[t, a, b] + alpha])
    raise RuntimeError(f"not fair after {most_passes} passes of cutting planes, with {len(rows)} rows")
