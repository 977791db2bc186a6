"""The protocol, round by round, with its accounts: errors of the *policy*, reports, and regret.

    1 the learner proposes pi on the k people of the round      3 it sees the labels of those it accepts
    2 one drawn rule decides for all of them                    4 the panel judges pi, may report a pair

All labels of the stream are used to keep the accounts; the learner sees those of the accepted alone.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from oneloop.fair import costs
from oneloop.fair.costs import Flags
from oneloop.fair.panel import Floats, Violation


class OneSidedLearner(Protocol):
    """Exp2, SemiBanditFtpl, or one of your own."""

    def propose(self, x: Floats) -> Floats:
        """[k], probabilities of accepting the people `x` [k, d]."""

    def act(self) -> Flags:
        """bool [k], who is accepted."""

    def update(
        self, labels: Mapping[int, float], violation: Violation | None = None, pending: Collection[int] = ()
    ) -> None:
        """Learns from the labels of the accepted and from the panel's report."""

    def settle(self, round: int, labels: Mapping[int, float]) -> None:
        """Learns from labels that were pending since an earlier round."""

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed learner needs."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""


class Audits(Protocol):
    """Whoever reports violations: a panel of auditors."""

    def audit(self, probs: Floats, x: Floats) -> Violation | None:
        """The pair that is reported, or None."""


@dataclass(frozen=True)
class Round:
    """What happened in one round."""

    round: int
    error: float
    """Expected number of wrong decisions of the policy among the k people."""
    accepted: int
    people: int
    favoured: int | None = None
    disfavoured: int | None = None
    gap: float = 0.0
    excess: float = 0.0
    votes: int = 0

    @property
    def violated(self) -> bool:
        """Whether the panel reported a pair."""
        return self.favoured is not None

    def as_dict(self) -> dict[str, Any]:
        """The fields, as values that JSON can hold."""
        return asdict(self)


def play(
    learner: OneSidedLearner, panel: Audits, x: Floats, labels: Floats, start: int = 0
) -> Iterator[Round]:
    """Plays the stream x [T, k, d], labels [T, k] from round `start`; yields each after its update."""
    for t in range(start, len(x)):
        probs = learner.propose(x[t])
        chosen = learner.act()
        violation = panel.audit(probs, x[t])
        learner.update({int(i): float(labels[t, i]) for i in np.flatnonzero(chosen)}, violation)
        reported = asdict(violation) if violation is not None else {}
        yield Round(t, costs.error(probs, labels[t]), int(chosen.sum()), len(probs), **reported)


def summary(rounds: list[Round]) -> dict[str, float]:
    """Summary of a whole stream: error a person, shares of violating rounds and of accepted people, mean
    excess."""
    violated = np.array([each.violated for each in rounds])
    people = sum(each.people for each in rounds)
    return {
        "error": sum(each.error for each in rounds) / people,
        "violating rounds": float(violated.mean()),
        "in the last quarter": float(violated[-max(1, len(rounds) // 4) :].mean()),
        "mean excess gap": float(np.mean([each.excess for each in rounds])),
        "accepted": sum(each.accepted for each in rounds) / people,
    }
