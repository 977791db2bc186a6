"""Pays for the verdict of another judge on the rollouts it chooses; the rest stay without one (NaN).

    x = how sure the policy was of a rollout; h(x) = 1: pay       rules: thresholds on x, and both constants
    one rule is drawn for each group       q = explore + (1 - explore) pi(x)       goes to `propensity`
    cost(pay) = 1 - worth of the verdict   cost(do not) = 1 - price

The one-sided feedback of arXiv 2206.04475 with rollouts for people: what a verdict would have been is known
only where it was paid for. Rules are learned by Exp2 (fair/exp2.py) from the verdicts alone; auditors, if
there are any, compare the rollouts of a group two at a time, and a reported pair (treated more differently
than the rollouts differ) is a penalty. credit/inverse_propensity.py weighs the verdicts by 1 / q.

`worth` of a verdict v: `right`, v itself (the paper's: pay for what will be right); `surprise`, |v - mean of
the verdicts so far| (what changes the policy). Rules are drawn by (seed, group) and learned when a batch of
judged rollouts is taken back, so a rollout is judged the same whoever is judged with it, and a resumed run
goes on to the bit. Not in the paper: several groups a round, exploration, a price other than 1/2.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from oneloop.core import draws
from oneloop.core.declared import declared
from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.part import Of, Options, part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns
from oneloop.fair import costs, exp2
from oneloop.fair.panel import AuditorPanel, Floats, Violation
from oneloop.fair.rules import threshold_rules
from oneloop.judge.functions import locate
from oneloop.judge.pairwise import distances
from oneloop.judge.stage import judge_name

FEATURES = ("likelihood", "weakest", "probability")
"""Geometric mean, least, and product of a rollout's probabilities, each in [0, 1]."""
DECAY = 0.9
"""Decay of the running mean of verdicts, applied each time rollouts are taken back."""


class Memory:
    """What the judge has learned. Mutable; the one thing of it that a checkpoint holds."""

    def __init__(self) -> None:
        self.rules = threshold_rules(len(FEATURES))
        self.reset()

    def reset(self) -> None:
        """Forgets what was learned: all rules are equally likely."""
        self.log_weights = np.zeros(len(self.rules))
        self.total = self.weight = 0.0

    @property
    def mean(self) -> float:
        """Mean verdict so far, each counted one over its probability; 0 before the first."""
        return self.total / self.weight if self.weight else 0.0


class Distances:
    """An auditor over what is shown of a group's rollouts."""

    def __init__(self, matrix: Floats):
        self.matrix = matrix

    def distances(self, x: Floats) -> Floats:
        """The matrix, float64 [k, k]; `x` is not looked at."""
        return self.matrix


def sureness(rollouts: Rollouts) -> Floats:
    """[n, 3], FEATURES of each rollout; 0 of one without actions."""
    logprob = rollouts.actions.logprob.double()
    row, action = rollouts.paths
    least = torch.zeros(len(rollouts), dtype=torch.float64).scatter_reduce(0, row, logprob[action], "amin")
    made = torch.stack([rollouts.gather(logprob), least, rollouts.gather(logprob, "sum")], 1).exp()
    return np.where(rollouts.length[:, None] > 0, made, 0.0).clip(0, 1)


@part(
    reads=lambda self: ("actions.logprob", "group", *declared(self.judge, "reads")),
    writes=lambda self: (
        *(f"reward.{self.name}", f"error.{self.name}", "propensity", "paid"),
        *(("correct",) if "correct" in declared(self.judge, "writes") else ()),
    ),
    paper="arXiv 2206.04475",
)
class OneSided:
    """`judge`'s verdict where it was paid for; `propensity` and `paid` of every rollout."""

    judge: Annotated[Any, Of("judge")]
    """The judge whose verdicts cost something; they must be in [0, 1]."""
    worth: Literal["right", "surprise"] = "right"
    """What makes a verdict worth its price: that it is high, or far from the mean verdict."""
    price: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Expected worth from which a verdict is paid for; .5 is the paper's."""
    explore: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Chance that a rollout is paid for whatever the rules say, each by itself; 1: every verdict is."""
    learning_rate: Annotated[float, Field(ge=0)] = 0.05
    """Learning rate of the rules (Exp2); 0: they stay equally likely."""
    auditors: tuple[str | Callable[..., Any], ...] = ()
    """Distances of two rollouts: text, likelihood, or a function of your own by path."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Largest difference of two propensities beyond their distance."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the auditors who must object."""
    penalty: Annotated[float, Field(ge=0)] = 2.0
    """Penalty C of a reported pair."""
    name: Annotated[str, Field(min_length=1)] = "one_sided"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""
    limits: Annotated[JudgeLimits, Options(JudgeLimits)] = JudgeLimits()
    """Limits of auditors' functions, and what an error of `judge` does."""
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for auditor in self.auditors:
            if isinstance(auditor, str) and auditor not in distances.BUILT_IN:
                locate.check(auditor)

    # the judge

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError for a verdict outside of [0, 1]."""
        decisions, propensity = self._propensities(rollouts)
        paid = self._paid(rollouts, decisions)
        verdicts = [Verdict()] * len(rollouts)
        correct = torch.full((len(rollouts),), torch.nan, dtype=torch.float64)
        chosen = rollouts.take(paid)
        judged = self.judge(chosen)
        inner = judge_name(self.judge)
        errors = judged[f"error.{inner}"] if f"error.{inner}" in judged else [None] * len(judged)
        scores = judged[f"reward.{inner}"].tolist()
        for row, score, error in zip(paid.nonzero().squeeze(1).tolist(), scores, errors, strict=True):
            if not (0 <= score <= 1 or score != score):
                raise JudgeError(f"judge '{self.name}': verdicts must be in [0, 1], '{inner}' says {score}")
            verdicts[row] = Verdict(score, error)
        written = {**columns(self.name, verdicts), "propensity": propensity, "paid": paid}
        if "correct" in declared(self.judge, "writes"):
            correct[paid] = judged.correct
            written["correct"] = correct
        share = {f"{self.name}/paid": float(paid.double().mean())} if len(paid) else {}
        return rollouts.put(written).put_facts(
            judge_metrics={**rollouts.facts.get("judge_metrics", {}), **share}
        )

    def _propensities(self, rollouts: Rollouts) -> tuple[Any, torch.Tensor]:
        """(bool [N, n] what each rule would do, float64 [n] the chance of a verdict)."""
        decisions = self.memory.rules.predict(sureness(rollouts))
        law = exp2.probabilities(self.memory.log_weights)
        pi = (law[:, None] * decisions).cumsum(axis=0)[-1]  # not @: its rounding depends on how many rows
        q = self.explore + (1 - self.explore) * np.clip(pi, 0, 1)
        return decisions, torch.from_numpy(q)

    def _paid(self, rollouts: Rollouts, decisions: Any) -> torch.Tensor:
        """bool [n]: what the rule drawn for its group says, or the rollout's own draw to explore."""
        law, paid = exp2.probabilities(self.memory.log_weights), np.zeros(len(rollouts), dtype=bool)
        groups = rollouts.group.numpy()
        key = draws.mix(rollouts.facts["seed"], "one_sided", self.name)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            rule = exp2.drawn(law, float(draws.uniforms(draws.mix(key, "rule"), int(group))))
            paid[rows] = decisions[rule][rows]
        explored = draws.uniforms(draws.mix(key, "explore"), rollouts.id.numpy()) < self.explore
        return torch.from_numpy(paid | explored)

    # learning

    def begin(self) -> None:
        """Forgets everything."""
        self.memory.reset()

    def learn(self, judged: Rollouts) -> None:
        """Takes `judged` back, the rollouts of one ask: every group is a round of Exp2, all by one law."""
        if not len(judged):
            return
        memory, mean = self.memory, self.memory.mean
        decisions = memory.rules.predict(sureness(judged))
        propensity, paid = judged["propensity"].numpy(), judged["paid"].numpy()
        verdict = judged[f"reward.{self.name}"].numpy()
        worth = verdict if self.worth == "right" else np.abs(verdict - mean)
        cost = np.where(np.isnan(worth), 0.0, 1 - worth)
        weight = 1 / np.where(paid, propensity, 1.0)
        net = np.zeros(len(judged))
        order = np.lexsort((judged.id.numpy(), judged.group.numpy()))
        groups = judged.group.numpy()[order]
        for rows in np.split(order, np.flatnonzero(np.diff(groups)) + 1):
            pair = self._audit(judged, rows, propensity[rows])
            net[rows] = costs.estimated(
                paid[rows], cost[rows], weight[rows], pair, self.penalty, reject_cost=1 - self.price
            ).net
        # in order of id, so that a sum of floats does not depend on who came back first
        memory.log_weights = memory.log_weights - self.learning_rate * (decisions[:, order] @ net[order])
        memory.log_weights -= memory.log_weights.max()
        known = order[~np.isnan(verdict[order])]
        memory.total = DECAY * memory.total + float((verdict[known] * weight[known]).sum())
        memory.weight = DECAY * memory.weight + float(weight[known].sum())

    def _audit(self, judged: Rollouts, rows: Any, probs: Floats) -> Violation | None:
        """The pair of a group's rollouts that the panel reports."""
        if not self.auditors or len(rows) < 2:
            return None
        likelihood = sureness(judged)[rows, 0].tolist()
        shown = [
            {"text": judged.text[row], "prompt": judged.example[row]["prompt"], "likelihood": value}
            for row, value in zip(rows.tolist(), likelihood, strict=True)
        ]
        try:
            panel = [Distances(distances.distances(auditor, shown, self.limits)) for auditor in self.auditors]
            x = np.zeros((len(rows), 1))
            return AuditorPanel(panel, alpha=self.alpha, gamma=self.gamma).audit(np.clip(probs, 0, 1), x)
        except ValueError as error:
            raise JudgeError(f"judge '{self.name}': {error}") from error

    # checkpoint

    def state_dict(self) -> dict[str, Any]:
        """Log weights of the rules, and the running mean."""
        memory = self.memory
        weights = torch.from_numpy(memory.log_weights.copy())
        return {"log_weights": weights, "total": memory.total, "weight": memory.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`, to the bit."""
        self.begin()
        self.memory.log_weights = state["log_weights"].numpy().copy()
        self.memory.total, self.memory.weight = state["total"], state["weight"]
