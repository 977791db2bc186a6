"""The plan's state, all that a checkpoint must hold: open groups, the three piles and the counters."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from oneloop.core.rollouts import Actions, Column, Rollouts
from oneloop.sample.plan.leftovers import started_again
from oneloop.sample.plan.source import Source


@dataclass
class Group:
    """One prompt and the rollouts sampled for it so far."""

    number: int
    key: int
    example: dict[str, Any]
    round: int = 0
    issued: int = 0
    back: int = 0
    due: int = 0
    restarts: int = 0
    pieces: list[Rollouts] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        """Whether every issued rollout is back and no more are due (a new group is idle)."""
        return self.back == self.issued and self.due == 0

    @property
    def rewards(self) -> Tensor:
        """float64, reward of each rollout that is back, NaN without a verdict; empty if there is no reward
        column.
        """
        return self._verdicts("reward")

    @property
    def solve_rate(self) -> float:
        """Share of `correct` among the verdicts so far; NaN without any."""
        correct = self._verdicts("correct")
        return float(correct.nanmean())

    def _verdicts(self, column: str) -> Tensor:
        columns = [piece[column] for piece in self.pieces if column in piece]
        return torch.cat(columns).double() if columns else torch.empty(0, dtype=torch.float64)


class Piles:
    """The piles of a `Plan` and its counters; mutable, used by the plan only."""

    def reset(self, source: Source, seed: int, steps: int, first: int) -> None:
        """Empties the piles and resets the counters."""
        self.source, self.seed, self.steps = source, seed, steps
        self.step = self.asks = self.refused_since = 0
        self.restarted = self.discarded = self.dropped = 0
        self.next_id = self.next_group = first
        self.groups: dict[int, Group] = {}
        self.unfinished: list[Rollouts] = []
        self.ready: list[Rollouts] = []
        self.refused: list[Rollouts] = []

    def open(self, key: int, example: dict[str, Any]) -> None:
        """Opens a group for the data row `example`, number `key`."""
        self.groups[self.next_group] = Group(self.next_group, key, example)
        self.next_group += 1

    def issue(self, group: Group) -> Rollouts:
        """The rows due to `group`: rollouts without actions, to be sampled."""
        count, group.due = group.due, 0
        ids = torch.arange(self.next_id, self.next_id + count)
        self.next_id += count
        group.issued += count
        columns: dict[str, Column] = {
            "id": ids,
            "group": torch.full((count,), group.number),
            "key": torch.full((count,), group.key),
            "example": [group.example] * count,
            "context": [((0, group.example.get("prompt")),)] * count,
            "budget": torch.full((count,), -1),
            "round": torch.full((count,), group.round - 1),
            "last": torch.full((count,), -1),
            "status": ["pending"] * count,
        }
        return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}))

    def take_unfinished(self, limit: int | None) -> list[Rollouts]:
        """Removes and returns all unfinished rows, or those of the first `limit` groups."""
        taken, self.unfinished = self.unfinished, []
        if limit is None or not taken:
            return taken
        rows = Rollouts.join(taken)
        now, later = rows.split(torch.isin(rows.group, rows.group.unique()[:limit]))
        self.unfinished = [later] if len(later) else []
        return [now]

    def put_back(self, finished: Rollouts, unfinished: Rollouts) -> None:
        """Adds finished rows to their groups, the rest to the unfinished pile."""
        if len(unfinished):
            self.unfinished.append(unfinished)
        for piece in finished.parts(finished.group):
            group = self.groups[int(piece.group[0])]
            group.pieces.append(piece)
            group.back += len(piece)

    def close(self, group: Group, rollouts: Rollouts, refused: bool) -> None:
        """Moves a complete group to the ready pile, or refuses it."""
        del self.groups[group.number]
        (self.refused if refused else self.ready).append(rollouts)
        self.refused_since += refused

    def give_up(self, too_old: Tensor, restarts: int | None) -> None:
        """Drops the tokens of unfinished rows flagged in `too_old`, bool [all unfinished rows].

        They restart, before all others; groups that did so `restarts` times are refused whole instead.
        """
        if not bool(too_old.any()):
            return
        again, kept = Rollouts.join(self.unfinished).split(too_old)
        numbers = again.group.unique().tolist()
        spent = [n for n in numbers if restarts is not None and self.groups[n].restarts >= restarts]
        for number in numbers:
            self.groups[number].restarts += 1
        (lost, again), (lost_too, kept) = (
            rows.split(torch.isin(rows.group, torch.tensor(spent, dtype=torch.long)))
            for rows in (again, kept)
        )
        self._drop(spent, [rows for rows in (lost, lost_too) if len(rows)])
        self.restarted += len(again)
        self.discarded += len(again.actions)
        self.unfinished = [rows for rows in (started_again(again), kept) if len(rows)]

    def _drop(self, numbers: list[int], unfinished: list[Rollouts]) -> None:
        """Refuses open groups with all their rows; the record keeps them, tokens included."""
        for number in numbers:
            self.refused += self.groups.pop(number).pieces
        self.refused += unfinished
        self.dropped += len(numbers)

    def take_ready(self, count: int) -> list[Rollouts]:
        """Removes and returns the `count` oldest ready groups."""
        self.ready.sort(key=lambda rows: int(rows.group[0]))
        taken, self.ready = self.ready[:count], self.ready[count:]
        return taken

    def next_batch(self) -> None:
        """Resets the refill counters, after a batch was handed out."""
        self.step += 1
        self.asks = self.refused_since = 0
        self.restarted = self.discarded = self.dropped = 0

    def take_refused(self) -> list[Rollouts]:
        """Refused groups since the last call; for the record of all judged rollouts."""
        taken, self.refused = self.refused, []
        return taken

    def judged(self) -> list[Rollouts]:
        """All judged rows that no batch has used: those of ready groups and of incomplete groups."""
        return [*self.ready, *self.waiting()]

    def waiting(self) -> list[Rollouts]:
        """Judged rows of incomplete groups."""
        return [piece for group in self.groups.values() for piece in group.pieces]

    def counts(self) -> dict[str, float]:
        """Rollouts and tokens in the piles, and those resumed or dropped at the last weight update."""
        started = [int((piece.last >= 0).sum()) for piece in self.unfinished]
        unfinished = sum(len(piece.actions) for piece in self.unfinished)
        return {
            "held/unfinished": sum(started),
            "held/waiting": sum(len(piece) for piece in self.waiting()),
            "held/ready": sum(len(piece) for piece in self.ready),
            "held/unfinished_tokens": unfinished,
            "held/tokens": unfinished + sum(len(piece.actions) for piece in self.judged()),
            "leftovers/restarted": self.restarted,
            "leftovers/discarded_tokens": self.discarded,
            "leftovers/dropped_groups": self.dropped,
        }

    # checkpoint

    COUNTERS = (
        *("step", "asks", "refused_since", "next_id", "next_group"),
        *("restarted", "discarded", "dropped"),
    )

    def state_dict(self) -> dict[str, Any]:
        """Everything `reset` sets up except the source's data."""
        groups = [
            {
                "number": group.number,
                "key": group.key,
                "round": group.round,
                "issued": group.issued,
                "back": group.back,
                "due": group.due,
                "restarts": group.restarts,
                "pieces": [_stored(piece) for piece in group.pieces],
            }
            for group in self.groups.values()
        ]
        return {
            "counters": {name: getattr(self, name) for name in self.COUNTERS},
            "source": self.source.state_dict(),
            "groups": groups,
            "unfinished": [_stored(piece) for piece in self.unfinished],
            "ready": [_stored(piece) for piece in self.ready],
            "refused": [_stored(piece) for piece in self.refused],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, into piles that were reset with the same source and seed."""
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self.source.load_state_dict(state["source"])
        self.groups = {}
        for saved in state["groups"]:
            pieces = [self.restore(piece) for piece in saved["pieces"]]
            example = self.source.data[saved["key"]]
            self.groups[saved["number"]] = Group(**{**saved, "pieces": pieces, "example": example})
        self.unfinished = [self.restore(piece) for piece in state["unfinished"]]
        self.ready = [self.restore(piece) for piece in state["ready"]]
        self.refused = [self.restore(piece) for piece in state["refused"]]

    def restore(self, stored: dict[str, Any]) -> Rollouts:
        """A saved piece of the state as Rollouts, with each data row read again once."""
        rows = {key: self.source.data[key] for key in stored["rollouts"]["key"].unique().tolist()}
        rollouts = Rollouts.from_state(stored)
        return rollouts.put(example=[rows[key] for key in rollouts.key.tolist()])


def _stored(piece: Rollouts) -> dict[str, Any]:
    return piece.without("example").state_dict()
