"""Streams of people for the claim `fair`: COMPAS or a synthetic one, learners, baselines, slopes over T."""

import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from oneloop.fair import costs, play
from oneloop.fair.bounds import default_penalty
from oneloop.fair.costs import Estimator, Flags
from oneloop.fair.exp2 import Exp2, theory_rate
from oneloop.fair.hindsight import best_fair_in_hindsight, rule_errors
from oneloop.fair.panel import AuditorPanel, Floats
from oneloop.fair.people import People, find_compas, random_auditors, read_compas, synthetic_people
from oneloop.fair.rules import LinearRules, random_linear_rules

DATA = "ONELOOP_FAIR_DATA"
RULES, AUDITORS, PEOPLE = 300, 5, 4
SLOPE_ROUNDS = (500, 1000, 2000, 4000, 8000)
SLOPE_RULES, SLOPE_PEOPLE = 32, 2


@cache
def people() -> tuple[People, str]:
    """(the people, what they are): COMPAS from $ONELOOP_FAIR_DATA or an installed wheel, else synthetic."""
    path = os.environ.get(DATA) or find_compas()
    if path:
        return read_compas(Path(path)), "COMPAS"
    return synthetic_people(6000, 0), "synthetic people"


@dataclass(frozen=True)
class Stream:
    """One seed's rounds, rules and auditors; x [T, k, d], y [T, k]."""

    x: Floats
    y: Floats
    rules: LinearRules
    pool: Floats
    seed: int

    @cached_property
    def decisions(self) -> Flags:
        """bool [N, T, k]."""
        flat = self.rules.predict(self.x.reshape(-1, self.x.shape[2]))
        return flat.reshape(len(self.rules), *self.y.shape)

    def panel(self, alpha: float, gamma: float) -> AuditorPanel:
        """The seed's auditors, as strict as asked."""
        return AuditorPanel(random_auditors(self.x.shape[2], AUDITORS, self.seed), alpha=alpha, gamma=gamma)

    def fair_optimum(self, panel: AuditorPanel, alpha: float) -> float:
        """Error of the best policy in hindsight that is fair at `alpha`."""
        distance = np.stack([panel.effective_distance(people) for people in self.x])
        return best_fair_in_hindsight(self.decisions, self.y, distance, alpha).error


def stream(crowd: People, rounds: int, k: int, rules: int, seed: int) -> Stream:
    """`rounds` rounds of `k` people drawn from `crowd`."""
    x, y = crowd.rounds(rounds, k, seed)
    return Stream(x, y, random_linear_rules(crowd.x, rules, seed), crowd.x, seed)


def exp2(
    of: Stream, panel: AuditorPanel, penalty: float, rate: float = 0.05, estimator: Estimator = "known"
) -> dict[str, float]:
    """What one run of Exp2 measured."""
    learner = Exp2(
        of.rules,
        penalty=penalty,
        learning_rate=rate,
        estimator=estimator,
        seed=of.seed,
    )
    return play.summary(list(play.play(learner, panel, of.x, of.y)))


def all_in(of: Stream, panel: AuditorPanel, weight: float) -> dict[str, float]:
    """What Exp2 without reports measured, its policy mixed with accepting everyone before it is judged.

    The learner acts, and sees labels, by its own policy.
    """
    learner, rounds = Exp2(of.rules, penalty=0.0, seed=of.seed), []
    for t, (x, y) in enumerate(zip(of.x, of.y, strict=True)):
        probs = (1 - weight) * learner.propose(x) + weight
        chosen, violation = learner.act(), panel.audit(probs, x)
        learner.update({int(i): float(y[i]) for i in np.flatnonzero(chosen)})
        reported = {} if violation is None else {"favoured": violation.favoured, "excess": violation.excess}
        rounds.append(
            play.Round(t, costs.error(probs, y), int(chosen.sum()), len(y), **reported)  # type: ignore[arg-type]
        )
    return play.summary(rounds)


def baselines(of: Stream, panel: AuditorPanel) -> dict[str, dict[str, float]]:
    """Following the leader: on labels seen, with the unseen taken for 0, and with all of them seen."""
    return {
        f"follow the leader, {name}": follow_the_leader(of, panel, name)
        for name in ("seen labels", "unseen as 0", "full labels")
    }


def follow_the_leader(of: Stream, panel: AuditorPanel, labels: str) -> dict[str, float]:
    """The rule with fewest mistakes so far decides, ties to the lowest number (after accepting all)."""
    total, rounds = np.zeros(len(of.rules)), []
    total[1] = -1e-9  # accept all first: who rejects all sees nothing
    for t, (x, y) in enumerate(zip(of.x, of.y, strict=True)):
        chosen = of.decisions[total.argmin(), t]
        probs = chosen.astype(np.float64)
        violation = panel.audit(probs, x)
        seen = np.ones(len(y), dtype=bool) if labels == "full labels" else chosen
        label = np.where(seen, y, 0.0)
        counted = np.ones(len(y)) if labels == "unseen as 0" else seen.astype(np.float64)
        wrong = np.where(of.decisions[:, t], 1 - label, label)
        total += wrong @ counted
        reported = {} if violation is None else {"favoured": violation.favoured, "excess": violation.excess}
        rounds.append(
            play.Round(t, costs.error(probs, y), int(chosen.sum()), len(y), **reported)  # type: ignore[arg-type]
        )
    return play.summary(rounds)


def slopes(seed: int, factor: float, alpha: float = 0.1, gamma: float = 0.5) -> dict[str, float]:
    """Exponents of T of regret and violations: least squares on logarithms, each T with its own C and rate.

    Regret is against the best policy that is fair at alpha / 2, `factor` times the rate of the theory.
    """
    regret, violations = [], []
    for rounds in SLOPE_ROUNDS:
        of = stream(synthetic_people(6000, seed), rounds, SLOPE_PEOPLE, SLOPE_RULES, seed)
        panel, penalty = of.panel(alpha, gamma), default_penalty("exp2", rounds)
        rate = factor * theory_rate(SLOPE_RULES, rounds, SLOPE_PEOPLE, penalty)
        run = exp2(of, panel, penalty, rate)
        regret.append((run["error"] - of.fair_optimum(panel, alpha / 2)) * of.y.size)
        violations.append(run["violating rounds"] * rounds)
    return {"regret": exponent(regret), "violations": exponent(violations)}


def exponent(values: list[float]) -> float:
    """Slope of log(value) over log(T); values below 1 count as 1."""
    logs = np.log(np.maximum(values, 1.0))
    return float(np.polyfit(np.log(SLOPE_ROUNDS[: len(values)]), logs, 1)[0])


def best_rule(of: Stream) -> float:
    """Error of the best single rule in hindsight."""
    return float(rule_errors(of.decisions, of.y).min())
