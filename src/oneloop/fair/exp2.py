"""Exp2 on one-sided labels: an explicit law over finitely many rules (arXiv 2206.04475, section 4).

    p(h) ~ exp(log_weight(h))                             pi(x) = sum_h p(h) h(x)        exact, no sampling
    h drawn from p decides for all k people of a round (k correlated decisions, not k coins)
    log_weight(h) -= learning_rate * estimated cost(h)    (costs.py)

Everything is in the log domain. No forced exploration is needed: who is accepted has pi > 0. Draws are named
by (seed, round), so a resumed learner goes on as if nothing had happened.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from oneloop.core import draws
from oneloop.fair.costs import Estimator, Flags, estimated
from oneloop.fair.panel import Floats, Violation
from oneloop.fair.rules import Rules
from oneloop.fair.turns import Turns, check_options, check_people


def probabilities(log_weights: Floats) -> Floats:
    """Probability of each rule, float64 [N], from `log_weights` [N]."""
    weights = np.exp(log_weights - log_weights.max())
    law: Floats = weights / weights.sum()
    return law


def drawn(law: Floats, uniform: float) -> int:
    """Number of the rule that `uniform` in [0, 1) draws from the probabilities `law` [N]; never one of 0."""
    cumulated = law.cumsum()
    return int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"))


def theory_rate(rules: int, rounds: int, people: int, penalty: float) -> float:
    """sqrt(ln N / T) / k' with k' = k + 2C: the learning rate that minimises the bound of bounds.py."""
    return math.sqrt(math.log(rules) / rounds) / (people + 2 * penalty)


class Exp2:
    """The learner over `rules`; call propose, act, update in turn."""

    def __init__(
        self,
        rules: Rules,
        *,
        penalty: float,
        learning_rate: float = 0.05,
        estimator: Estimator = "known",
        floor: float = 0.0,
        seed: int = 0,
    ):
        """`penalty` is C; `floor`: probabilities are taken to be at least that when dividing by them, which
        bounds the weights and biases label costs low (`bias` adds up by how much at most). Not in the
        paper."""
        check_options(penalty, learning_rate)
        if estimator not in ("known", "importance"):
            raise ValueError(f"estimator must be known or importance, got '{estimator}'")
        if not 0 <= floor < 1:
            raise ValueError(f"floor must be in [0, 1), got {floor}")
        if len(rules) < 1:
            raise ValueError("rules: the class is empty")
        self.rules, self.penalty, self.learning_rate = rules, penalty, learning_rate
        self.estimator, self.floor, self.seed = estimator, floor, seed
        self.log_weights = np.zeros(len(rules))
        self.floored, self.bias = 0, 0.0
        self.turns = Turns()
        self._decisions: Flags = np.zeros((len(rules), 0), dtype=bool)

    @property
    def law(self) -> Floats:
        """Probability of each rule, float64 [N]."""
        return probabilities(self.log_weights)

    def propose(self, x: Floats) -> Floats:
        """[k], exact probabilities of accepting the people `x` [k, d]. This is what auditors see."""
        people = check_people(x)
        decisions = self.rules.predict(people)
        probs = self.turns.proposed(people, np.clip(self.law @ decisions, 0.0, 1.0))
        self._decisions = decisions
        return probs

    def act(self) -> Flags:
        """bool [k], who is accepted by the one rule that is drawn for the round."""
        self.turns.acting()
        uniform = float(draws.uniforms(draws.mix(self.seed, "exp2"), self.turns.round))
        self.turns.chosen = self._decisions[drawn(self.law, uniform)]
        return self.turns.chosen.copy()

    def update(
        self, labels: Mapping[int, float], violation: Violation | None = None, pending: Collection[int] = ()
    ) -> None:
        """Learns from the labels of those accepted, {person: y in [0, 1]}, and the panel's report.

        Whoever's label comes later is named in `pending`. Raises ValueError for labels that cannot be known,
        that are missing, or out of turn.
        """
        _, chosen, cost = self.turns.observed(labels, pending)
        probs = self.turns.probs
        assert probs is not None
        weight = self._weights(np.where(chosen, probs, 1 - probs))
        costs = estimated(chosen, cost, weight, violation, self.penalty, estimator=self.estimator)
        self._learn(self._decisions, costs.net)
        self.turns.finish(weight, pending)

    def settle(self, round: int, labels: Mapping[int, float]) -> None:
        """Learns labels that were pending since `round`, with the probabilities of that round."""
        x, cost = self.turns.settle(round, labels)
        if len(x):
            self._learn(self.rules.predict(x), cost)

    def _weights(self, taken: Floats) -> Floats:
        if not (taken > 0).all():
            raise ValueError(f"a decision of probability {taken.min()} was taken: the state is damaged")
        low = taken < self.floor
        self.floored += int(low.sum())
        self.bias += float((1 - taken[low] / self.floor).sum()) if self.floor else 0.0
        return 1 / np.maximum(taken, self.floor)

    def _learn(self, decisions: Flags, net: Floats) -> None:
        self.log_weights = self.log_weights - self.learning_rate * (decisions @ net)
        self.log_weights -= self.log_weights.max()

    def state_dict(self) -> dict[str, Any]:
        """Log weights, the turn, pending labels; no generator, since draws are named by the round."""
        counts = {"floored": self.floored, "bias": self.bias}
        return {
            "log_weights": torch.from_numpy(self.log_weights.copy()),
            "turns": self.turns.state_dict(),
            **counts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`, to the bit. Raises ValueError for another number of rules."""
        if len(state["log_weights"]) != len(self.rules):
            raise ValueError(f"the state is of {len(state['log_weights'])} rules, here are {len(self.rules)}")
        self.log_weights = state["log_weights"].numpy().copy()
        self.floored, self.bias = state["floored"], state["bias"]
        self.turns.load_state_dict(state["turns"])
        if state["turns"]["x"] is not None:
            self.propose(state["turns"]["x"].numpy())
            if state["turns"]["acted"]:
                self.act()
