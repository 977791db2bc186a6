"""Context-Semi-Bandit-FTPL: one-sided labels with an oracle instead of a law over rules.

    h = oracle(history of estimated net costs + z_s at each point s of a separator),  z_s a difference of two
        Laplace(noise) draws (density (noise/2) exp(-noise |z|)): fresh for every draw
    pi(x) = mean over `policy_samples` draws; one of them decides: what auditors see is what is deployed
    1/q is replaced by J, the number of fresh draws until the decision taken recurs (geometric resampling)

arXiv 2206.04475 (section 5), after Syrgkanis, Krishnamurthy and Schapire (arXiv 1602.02454). J is cut at
`max_resamples` L: E[J] = (1 - (1 - q)^L) / q, so costs are biased low and never high; how often the cut was
met is counted (`cut`). One stream of redraws serves all people of a round: unbiasedness is each one's own.
The paper wants about T draws a round; here they are an option.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from oneloop.core import draws
from oneloop.fair.costs import Estimator, Flags, estimated
from oneloop.fair.oracles import Oracle
from oneloop.fair.panel import Floats, Violation
from oneloop.fair.turns import Turns, check_options, check_people


def laplace_differences(uniforms: Floats, rate: float) -> Floats:
    """[...], z = xi_1 - xi_0 of two Laplace(`rate`) draws, from `uniforms` [..., 2] in [0, 1)."""
    centred = uniforms - 0.5
    xi = -np.sign(centred) * np.log1p(-2 * np.abs(centred).clip(max=0.5 - 2**-54)) / rate
    difference: Floats = xi[..., 1] - xi[..., 0]
    return difference


def geometric_resample(redraws: Flags, chosen: Flags) -> Floats:
    """J [k]: the number of the first of `redraws` [L, k] that equals `chosen` [k], from 1; L if none does."""
    same = redraws == chosen
    first: Floats = np.where(same.any(axis=0), same.argmax(axis=0) + 1, len(redraws)).astype(np.float64)
    return first


class SemiBanditFtpl:
    """The learner over the class of `oracle`; call propose, act, update in turn."""

    def __init__(
        self,
        oracle: Oracle,
        *,
        penalty: float,
        noise: float = 0.1,
        max_resamples: int = 30,
        policy_samples: int = 20,
        estimator: Estimator = "known",
        seed: int = 0,
    ):
        """`penalty` is C; `noise` the rate of the Laplace law (larger: less noise). The paper gives only the
        order T^(1/3) of `max_resamples`, and no constant of `noise`."""
        check_options(penalty, noise, "noise")
        for name, value in {"max_resamples": max_resamples, "policy_samples": policy_samples}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if noise == 0:
            raise ValueError("noise must be above 0, got 0: perturbations would be infinite")
        self.oracle, self.penalty, self.noise, self.estimator = oracle, penalty, noise, estimator
        self.max_resamples, self.policy_samples, self.seed = max_resamples, policy_samples, seed
        self.cut = self.calls = 0
        self.turns = Turns()
        self._decisions: Flags = np.zeros((policy_samples, 0), dtype=bool)

    def propose(self, x: Floats) -> Floats:
        """[k], share of the draws that accept each of the people `x` [k, d]. This is what auditors see."""
        people = check_people(x)
        decisions = self._draws("policy", self.policy_samples, people)
        probs = self.turns.proposed(people, decisions.mean(axis=0))
        self._decisions = decisions
        return probs

    def act(self) -> Flags:
        """bool [k], who is accepted by one of the draws."""
        self.turns.acting()
        uniform = float(draws.uniforms(draws.mix(self.seed, "act"), self.turns.round))
        self.turns.chosen = self._decisions[int(uniform * self.policy_samples)]
        return self.turns.chosen.copy()

    def update(
        self, labels: Mapping[int, float], violation: Violation | None = None, pending: Collection[int] = ()
    ) -> None:
        """Learns from the labels of those accepted and the panel's report, as Exp2.update does."""
        x, chosen, cost = self.turns.observed(labels, pending)
        redraws = self._draws("resample", self.max_resamples, x)
        weight = geometric_resample(redraws, chosen)
        self.cut += int((redraws != chosen).all(axis=0).sum())
        costs = estimated(chosen, cost, weight, violation, self.penalty, estimator=self.estimator)
        self.oracle.add(x, costs.net)
        self.turns.finish(weight, pending)

    def settle(self, round: int, labels: Mapping[int, float]) -> None:
        """Learns labels that were pending since `round`, with the J of that round."""
        x, cost = self.turns.settle(round, labels)
        if len(x):
            self.oracle.add(x, cost)

    def _draws(self, what: str, count: int, x: Floats) -> Flags:
        """bool [count, k], decisions under fresh perturbations, named by purpose and round."""
        points = len(self.oracle.separator)
        key = draws.mix(self.seed, "ftpl", what, self.turns.round)
        uniforms = draws.uniforms(key, np.arange(count * points * 2)).reshape(count, points, 2)
        self.calls += count
        return self.oracle.decide(laplace_differences(uniforms, self.noise), x)

    def state_dict(self) -> dict[str, Any]:
        """The oracle's history, the turn, pending labels, counts."""
        counts = {"cut": self.cut, "calls": self.calls}
        return {"oracle": self.oracle.state_dict(), "turns": self.turns.state_dict(), **counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`, to the bit."""
        self.oracle.load_state_dict(state["oracle"])
        self.turns.load_state_dict(state["turns"])
        if state["turns"]["x"] is not None:
            self.propose(state["turns"]["x"].numpy())
            if state["turns"]["acted"]:
                self.act()
        self.cut, self.calls = state["cut"], state["calls"]
