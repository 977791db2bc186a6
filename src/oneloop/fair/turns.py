"""Whose turn it is: propose -> act -> update, once each and in this order; and labels that are still out.

Every learner of this room keeps one `Turns`. A label that is not known yet is pending: it is applied when it
comes, with the weight (one over the probability) of *its* round, which is kept and never computed again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from oneloop.fair.costs import Flags
from oneloop.fair.panel import Floats


@dataclass(frozen=True)
class Pending:
    """Somebody accepted whose label is not known: features [d], and one over the probability of that."""

    x: Floats
    weight: float


@dataclass
class Turns:
    """The state of one learner's rounds; `round` counts from 0 and names the draws."""

    round: int = 0
    x: Floats | None = None
    probs: Floats | None = None
    chosen: Flags | None = None
    pending: dict[tuple[int, int], Pending] = field(default_factory=dict)

    def proposed(self, x: Floats, probs: Floats) -> Floats:
        """Keeps what was proposed for the people `x` [k, d]; asked again before acting, it is replaced."""
        if self.chosen is not None:
            raise ValueError(f"propose: round {self.round} was acted on; update() comes first")
        self.x, self.probs = x, probs
        return probs

    def acting(self) -> tuple[Floats, Floats]:
        """(people, their probabilities) of this round. Raises ValueError out of turn."""
        if self.x is None or self.probs is None:
            raise ValueError(f"act: nothing was proposed in round {self.round}; propose(x) comes first")
        if self.chosen is not None:
            raise ValueError(f"act: round {self.round} was acted on already; update() comes next")
        return self.x, self.probs

    def observed(self, labels: Mapping[int, float], pending: Collection[int]) -> tuple[Floats, Flags, Floats]:
        """(people [k, d], who was accepted [k], 1 - y [k], 0 where unseen).

        Raises ValueError out of turn, for the label of somebody rejected, and for one that is neither there
        nor pending.
        """
        if self.x is None or self.chosen is None:
            raise ValueError(f"update: round {self.round} was not acted on (or was updated already)")
        accepted = set(np.flatnonzero(self.chosen).tolist())
        if breach := sorted({*labels, *pending} - accepted):
            raise ValueError(
                f"labels: {breach[0]} was not accepted in round {self.round}, so nobody can know its label"
            )
        if missing := sorted(accepted - {*labels, *pending}):
            raise ValueError(
                f"labels: {missing[0]} was accepted in round {self.round}; give its label, "
                "or name it in `pending` and settle() it later"
            )
        cost = np.zeros(len(self.chosen))
        for i, label in labels.items():
            cost[i] = 1 - check_label(label, f"person {i} of round {self.round}")
        return self.x, self.chosen, cost

    def finish(self, weight: Floats, pending: Collection[int]) -> None:
        """Ends the round; labels in `pending` are owed, with `weight` [k] of this round."""
        assert self.x is not None
        for i in pending:
            self.pending[self.round, int(i)] = Pending(self.x[i].copy(), float(weight[i]))
        self.round, self.x, self.probs, self.chosen = self.round + 1, None, None, None

    def settle(self, round: int, labels: Mapping[int, float]) -> tuple[Floats, Floats]:
        """(people [j, d], their label costs over probability [j]) that `labels` of an earlier round settle.

        Raises ValueError for a label that is not pending.
        """
        for i, label in labels.items():
            if (round, i) not in self.pending:
                raise ValueError(f"settle: no label of person {i} of round {round} is pending")
            check_label(label, f"person {i} of round {round}")
        owed = [(self.pending.pop((round, i)), label) for i, label in labels.items()]
        x = np.array([entry.x for entry, _ in owed])
        return x, np.array([(1 - label) * entry.weight for entry, label in owed])

    def state_dict(self) -> dict[str, Any]:
        """The round, what is proposed and whether it was acted on, and every label that is out."""
        owed = list(self.pending.items())
        return {
            "round": self.round,
            "x": None if self.x is None else torch.from_numpy(self.x.copy()),
            "acted": self.chosen is not None,
            "pending": [(t, i, entry.weight) for (t, i), entry in owed],
            "pending_x": [torch.from_numpy(entry.x.copy()) for _, entry in owed],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave, less the proposal: its owner makes that again."""
        self.round, self.x, self.probs, self.chosen = state["round"], None, None, None
        pairs = zip(state["pending"], state["pending_x"], strict=True)
        self.pending = {(t, i): Pending(x.numpy().copy(), weight) for (t, i, weight), x in pairs}


def check_people(x: Floats) -> Floats:
    """`x` as float64 [k, d]. Raises ValueError for nobody, another shape, and what is not finite."""
    people = np.asarray(x, dtype=np.float64)
    if people.ndim != 2 or not len(people):
        raise ValueError(f"x must be [k, d] with at least one person, got shape {people.shape}")
    if not np.isfinite(people).all():
        raise ValueError(f"x must be finite, got {people[~np.isfinite(people)][0]}")
    return people


def check_label(label: float, whose: str) -> float:
    """`label` when it is in [0, 1]. Raises ValueError."""
    if not 0 <= label <= 1:
        raise ValueError(f"the label of {whose} must be in [0, 1], got {label}")
    return float(label)


def check_options(penalty: float, learning_rate: float, name: str = "learning_rate") -> None:
    """Raises ValueError for an option that is negative or not finite, naming it."""
    if not (penalty >= 0 and np.isfinite(penalty)):
        raise ValueError(f"penalty (C) must be at least 0, got {penalty}")
    if not (learning_rate >= 0 and np.isfinite(learning_rate)):
        raise ValueError(f"{name} must be at least 0, got {learning_rate}")
