"""Classes of rules that accept or reject: finite ones, as matrices of decisions."""

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from oneloop.core import draws
from oneloop.fair.costs import Flags
from oneloop.fair.panel import Floats


class Rules(Protocol):
    """A finite class H of N rules."""

    def __len__(self) -> int:
        """Number N of rules."""

    def predict(self, x: Floats) -> Flags:
        """bool [N, k], whether each rule accepts each of the people `x` [k, d]."""


class LinearRules:
    """h_n(x) = 1 where weights[n] . x >= thresholds[n]."""

    def __init__(self, weights: Floats, thresholds: Floats):
        """Raises ValueError unless `weights` [N, d] and `thresholds` [N] fit."""
        if weights.ndim != 2 or thresholds.shape != (len(weights),):
            raise ValueError(
                f"weights [N, d] and thresholds [N] must fit, got {weights.shape}, {thresholds.shape}"
            )
        self.weights, self.thresholds = weights, thresholds

    def __len__(self) -> int:
        return len(self.weights)

    def predict(self, x: Floats) -> Flags:
        """bool [N, k], whether each rule accepts each of the people `x` [k, d]."""
        accepted: Flags = self.weights @ x.T >= self.thresholds[:, None]
        return accepted


class FunctionRules:
    """Any functions `rule(x [k, d])` -> 0 or 1 [k]."""

    def __init__(self, functions: Sequence[Callable[[Floats], NDArray[np.generic]]]):
        self.functions = list(functions)

    def __len__(self) -> int:
        return len(self.functions)

    def predict(self, x: Floats) -> Flags:
        """bool [N, k], whether each rule accepts each of the people `x` [k, d]."""
        return np.stack([np.asarray(rule(x)) for rule in self.functions]).astype(bool)


def random_linear_rules(pool: Floats, count: int, seed: int = 0) -> LinearRules:
    """`count` rules: reject all, accept all, and thresholds on random directions.

    Each threshold lies at a random quantile of the people `pool` [n, d] along its direction, so that rules
    of all rates of acceptance occur.
    """
    if count < 2:
        raise ValueError(f"count must be at least 2 (both constants are among the rules), got {count}")
    draw = np.random.Generator(np.random.Philox(int(draws.mix(seed, "rules"))))
    weights = draw.normal(size=(count, pool.shape[1]))
    thresholds = np.array(
        [np.quantile(pool @ row, q) for row, q in zip(weights, draw.random(count), strict=True)]
    )
    weights[:2], thresholds[:2] = 0.0, [1.0, -1.0]
    return LinearRules(weights, thresholds)


def threshold_rules(features: int, levels: int = 9) -> LinearRules:
    """Rules that accept from a level of one feature upwards or downwards, and the two constant rules."""
    at = np.arange(1, levels + 1) / (levels + 1)
    rows = [(sign, f, level) for f in range(features) for sign in (1, -1) for level in at]
    weights, thresholds = np.zeros((len(rows) + 2, features)), np.array([1.0, -1.0, *np.zeros(len(rows))])
    for number, (sign, f, level) in enumerate(rows, start=2):
        weights[number, f], thresholds[number] = sign, sign * level
    return LinearRules(weights, thresholds)


def check_constants(rules: Rules, pool: Floats) -> None:
    """Warns when H lacks a constant rule on `pool` [n, d]: then a fair competitor may not exist."""
    decisions = rules.predict(pool)
    missing = [
        name
        for name, there in (("accept all", decisions.all(1)), ("reject all", ~decisions.any(1)))
        if not there.any()
    ]
    if missing:
        warnings.warn(
            f"the rules do not hold '{missing[0]}': nothing guarantees that a fair policy exists",
            stacklevel=2,
        )


def greedy_separator(rules: Rules, pool: Floats) -> NDArray[np.int64]:
    """Places in `pool` [n, d] on which all rules that differ on the pool differ.

    Greedy: each point is the one that splits most pairs of rules still alike. Rules equal on all of the pool
    stay together: they are one rule there.
    """
    decisions = rules.predict(pool)
    classes, chosen = np.zeros(len(decisions), dtype=np.int64), list[int]()
    wanted = len(np.unique(decisions, axis=0))
    while len(np.unique(classes)) < wanted:
        size = int(classes.max()) + 1
        total = np.bincount(classes, minlength=size)
        accepted = np.zeros((size, decisions.shape[1]))
        np.add.at(accepted, classes, decisions)
        split = (accepted * (total[:, None] - accepted)).sum(0)
        chosen.append(int(split.argmax()))
        classes = np.unique(2 * classes + decisions[:, chosen[-1]], return_inverse=True)[1]
    return np.array(chosen, dtype=np.int64)


def unseparated(rules: Rules, separator: Floats, pool: Floats) -> tuple[int, int] | None:
    """Two rules that differ on `pool` [n, d] and are equal on all points of `separator` [s, d], or None."""
    there, everywhere = rules.predict(separator), rules.predict(pool)
    first: dict[bytes, int] = {}
    for number, row in enumerate(there):
        other = first.setdefault(row.tobytes(), number)
        if (everywhere[other] != everywhere[number]).any():
            return other, number
    return None
