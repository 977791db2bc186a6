"""Oracles: the rule that costs least on weighted people, for semi_bandit_ftpl.py.

    argmin over h in H of sum_n c_n h(x_n)      =      fit labels 1[c_n < 0] with weights |c_n|

Both hold the history of net costs (accepting over rejecting) and answer for many perturbations z of the
separator's points at once. `EnumeratedOracle` tries every rule, exactly (ties to the lowest number);
`EstimatorOracle` asks any scikit-learn classifier that takes `sample_weight`: an approximation, whose class
is whatever the estimator can express. Both constants are answered without fitting where all labels are one.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.base import clone

from oneloop.fair.costs import Flags
from oneloop.fair.panel import Floats
from oneloop.fair.rules import Rules, unseparated


class Oracle(Protocol):
    """Finds rules under perturbed histories."""

    separator: Floats
    """[s, d], points on which any two rules of the class differ somewhere."""

    def add(self, x: Floats, net: Floats) -> None:
        """Appends people `x` [k, d] with net costs `net` [k] to the history."""

    def decide(self, noise: Floats, x: Floats) -> Flags:
        """bool [r, k]: how the best rule under each perturbation `noise` [r, s] decides on `x` [k, d]."""

    def state_dict(self) -> dict[str, Any]:
        """The people and costs added so far, as tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""


class EnumeratedOracle:
    """Tries all of a finite class; the history is one number a rule."""

    def __init__(self, rules: Rules, separator: Floats, pool: Floats | None = None):
        """Raises ValueError naming two rules that differ on `pool` [n, d] but not on `separator` [s, d]."""
        pair = None if pool is None else unseparated(rules, separator, pool)
        if pair is not None:
            raise ValueError(
                f"separator: rules {pair[0]} and {pair[1]} decide alike on its {len(separator)} points "
                "but not everywhere; add a point on which they differ"
            )
        self.rules, self.separator = rules, separator
        self.there = rules.predict(separator).astype(np.float64)
        self.total = np.zeros(len(rules))

    def add(self, x: Floats, net: Floats) -> None:
        """Adds the cost of each rule on people `x` [k, d] with net costs `net` [k] to its total."""
        self.total += self.rules.predict(x) @ net

    def decide(self, noise: Floats, x: Floats) -> Flags:
        """bool [r, k]: decisions on `x` [k, d] of the cheapest rule under each of `noise` [r, s]."""
        best = (self.total + noise @ self.there.T).argmin(axis=1)
        decided: Flags = self.rules.predict(x)[best]
        return decided

    def state_dict(self) -> dict[str, Any]:
        """Total cost of each rule, [N]."""
        return {"total": torch.from_numpy(self.total.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Total cost of each rule, [N]."""
        self.total = state["total"].numpy().copy()


class EstimatorOracle:
    """Asks a clone of a scikit-learn classifier, fitted on the whole history each time."""

    def __init__(self, estimator: Any, separator: Floats):
        self.estimator, self.separator = estimator, separator
        self.x, self.net = np.zeros((0, separator.shape[1])), np.zeros(0)

    def add(self, x: Floats, net: Floats) -> None:
        """Appends people `x` [k, d] with net costs `net` [k] to the history."""
        self.x, self.net = np.concatenate([self.x, x]), np.concatenate([self.net, net])

    def decide(self, noise: Floats, x: Floats) -> Flags:
        """bool [r, k]: decisions on `x` [k, d]; the classifier is fitted once for each of `noise` [r, s]."""
        people = np.concatenate([self.x, self.separator])
        return np.stack([self._fit(people, np.concatenate([self.net, z]), x) for z in noise])

    def _fit(self, people: Floats, cost: Floats, x: Floats) -> Flags:
        label, counted = cost < 0, cost != 0
        if not counted.any() or len(np.unique(label[counted])) < 2:
            return np.full(len(x), bool(counted.any() and label[counted][0]))
        model = clone(self.estimator)
        model.fit(people[counted], label[counted], sample_weight=np.abs(cost[counted]))
        return np.asarray(model.predict(x), dtype=bool)

    def state_dict(self) -> dict[str, Any]:
        """The history: people `x` and their net costs `net`."""
        return {"x": torch.from_numpy(self.x.copy()), "net": torch.from_numpy(self.net.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The history: people `x` and their net costs `net`."""
        self.x, self.net = state["x"].numpy().copy(), state["net"].numpy().copy()
