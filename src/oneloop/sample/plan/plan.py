"""The plan: which prompts to sample, how often, and when a batch is complete.

One final class with five slots (data, count, dress, keep, leftovers); a sampling method is a setting of
the slots, and settings combine. It owns the three piles every such method needs:

    unfinished (sampled in part) -> waiting (judged, siblings missing) -> ready (complete groups)

Issued rollouts are always trained, held in a pile, or refused by `keep` or a failed judge: none is lost.
"""

import dataclasses
import math
from typing import Annotated, Any

import torch
from pydantic import Field

from oneloop.core.part import Of, Options, part
from oneloop.core.protocols import Listening, Measured, Measuring, Policy, Remembering
from oneloop.core.rollouts import Rollouts, Table
from oneloop.sample.data.checked import Check, OnBadRow, unchecked
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.curriculum import Curriculum
from oneloop.sample.plan.groups import group_columns, pass_rates
from oneloop.sample.plan.leftovers import Leftovers
from oneloop.sample.plan.piles import Group, Piles
from oneloop.sample.plan.source import Source


class DrySource(RuntimeError):
    """More than `max_refills` batches' worth of groups were refused: too few groups carry signal."""


@part(writes=("id", "group", "key", "example", "context", "budget", "round", "solve_rate", "last", "status"))
class Plan:
    """Requests rollouts, collects them in groups, returns batches of `groups` complete groups."""

    data: Annotated[Any, Of("data")]
    """Where prompts come from."""
    groups: Annotated[int, Field(ge=1)] = 8
    """Groups (prompts) in a batch."""
    count: Annotated[Any, Of("count")] = dataclasses.field(default_factory=Uniform)
    """How many rollouts each group gets, in how many rounds. All idle groups are asked about at once: n > 0
    rows are issued; 0: the group is complete; -1: nothing in this round, but it is asked about again."""
    dress: tuple[Annotated[Any, Of("dress")], ...] = ()
    """Parts that rewrite fresh rows before they are sampled (budgets, seeded contexts, forks)."""
    keep: Annotated[Any, Of("keep")] | None = None
    """Which complete groups to learn from; refused ones are replaced by new prompts. None: all."""
    leftovers: Annotated[Leftovers, Options(Leftovers)] = dataclasses.field(default_factory=Leftovers)
    """What happens to unfinished rollouts when the weights change."""
    in_flight: Annotated[int, Field(ge=1)] | None = None
    """Groups sampled at a time; more than `groups`: over-provision and stop early. None: `groups`."""
    max_refills: Annotated[int, Field(ge=0)] = 20
    """How many batches' worth of groups may be refused for one batch before it is an error."""
    curriculum: Annotated[Curriculum, Options(Curriculum)] | None = None
    """Law by which the class of the next prompt is drawn; None: rows in the order of the data."""
    shuffle: bool = True
    """Whether to shuffle the data, anew in each epoch."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many passes over the data; None: as many as the steps need."""
    on_bad_row: OnBadRow = "stop"
    """What a row does that cannot be read or that the policy cannot start from: stop the run, or be left
    out."""
    piles: Piles = dataclasses.field(default_factory=Piles, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.in_flight is not None and self.in_flight < self.groups:
            raise ValueError(f"in_flight must be at least groups ({self.groups}), got {self.in_flight}")

    def begin(
        self, seed: int, steps: int, first: int = 0, check: Check = unchecked, held_out: float = 0.0
    ) -> None:
        """Starts from nothing: `steps` batches will be handed out; ids count from `first`. `check` raises
        ValueError for a row that the policy cannot use; the share `held_out` of all prompts is left out."""
        source = Source(
            self.data, self.shuffle, self.epochs, seed, check, self.on_bad_row, held_out, self.curriculum
        )
        self.piles.reset(source, seed=seed, steps=steps, first=first)
        for dress in self._remembering:
            dress.begin()

    def meet(self, policy: Policy) -> None:
        """Gives dress parts that lengthen prompts the policy that will sample them."""
        for dress in self.dress:
            if isinstance(dress, Measuring):
                dress.meet(policy)

    @property
    def _remembering(self) -> list[Any]:
        """Dress parts with a state: those that learn from judged rollouts."""
        return [dress for dress in self.dress if isinstance(dress, Remembering)]

    # ask

    def ask(self, limit: int | None = None) -> Rollouts | None:
        """Rows to sample: unfinished ones, and fresh ones of idle groups. None: the source is dry.

        `facts["enough"]`: how many of the asked groups must be complete before sampling may stop
        (None: all). `limit`: at most this many groups are asked. An empty table means that a batch is
        ready without sampling. Raises DrySource when `max_refills` is used up.
        """
        ready = self.piles.ready
        rows = None if len(ready) >= self.groups else self.more(limit)
        return ready[0].take(torch.zeros(0, dtype=torch.long)) if rows is None and ready else rows

    def more(self, limit: int | None = None, ahead: int = 0) -> Rollouts | None:
        """Rows to sample beside those that are out; None: nothing at the moment.

        `ahead`: batches that may be under way beside the one that comes next. See `ask`.
        """
        piles = self.piles
        if piles.refused_since > self.max_refills * self.groups:
            raise DrySource(
                f"plan: asked {piles.asks} times and {len(piles.ready)} of {self.groups} groups carry signal "
                f"({piles.refused_since} refused{pass_rates(piles.refused)}). Raise plan.max_refills "
                f"({self.max_refills}), give easier or harder data, or more rollouts per group."
            )
        self._open_groups(self.at_once + ahead * self.groups)
        unfinished = piles.take_unfinished(limit)
        resumed = len({int(group) for piece in unfinished for group in piece.group})
        pieces = [*unfinished, *self._fresh(None if limit is None else limit - resumed)]
        if not pieces:
            return None
        piles.asks += 1
        rows = Rollouts.join(pieces)
        share = len(rows.group.unique()) / self.at_once if ahead and limit is not None else 1.0
        return rows.put_facts(**self._facts(), enough=self._enough(share))

    @property
    def at_once(self) -> int:
        """Groups sampled at a time."""
        return self.in_flight or self.groups

    def _open_groups(self, most: int) -> None:
        piles = self.piles
        while len(piles.groups) + len(piles.ready) < most:
            row = piles.source.next()
            if row is None:
                return
            piles.open(*row)

    def _fresh(self, limit: int | None) -> list[Rollouts]:
        self._grant([group for group in self.piles.groups.values() if group.round == 0])
        due = [group for group in self.piles.groups.values() if group.due][:limit]
        if not due:
            return []
        rates = torch.tensor([group.solve_rate for group in due], dtype=torch.float64)
        rates = rates.repeat_interleave(torch.tensor([group.due for group in due]))
        rows = Rollouts.join([self.piles.issue(group) for group in due]).put_facts(**self._facts())
        for dress in self.dress:
            rows = dress(rows.put(solve_rate=rates)).without("solve_rate")
        return [rows]

    def _grant(self, groups: list[Group]) -> list[Group]:
        """Asks the count strategy about all of `groups` at once; returns those that are complete."""
        if not groups:
            return []
        more = self.count.more(Table(group_columns(groups))).tolist()
        for group, n in zip(groups, more, strict=True):
            group.round, group.due = group.round + 1, max(int(n), 0)
        return [group for group, n in zip(groups, more, strict=True) if n == 0]

    def _facts(self) -> dict[str, Any]:
        piles = self.piles
        return {"seed": piles.seed, "step": piles.step, "progress": piles.step / max(piles.steps, 1)}

    def _enough(self, share: float) -> int | None:
        """Groups after which sampling may stop; `share`: of the groups sampled at a time that are asked."""
        if self.at_once == self.groups:
            return None
        return math.ceil(share * max(self.groups - len(self.piles.ready), 1))

    # tell

    def tell(self, finished: Rollouts, unfinished: Rollouts) -> None:
        """Takes back what `ask` handed out: judged rows, and rows that were stopped in the middle."""
        for dress in self._remembering if len(finished) else []:
            finished = dress.learn(finished)
        if self.piles.source.classes is not None and len(finished):
            self.piles.source.classes.learn(finished)
        piles = self.piles
        piles.put_back(finished, unfinished)
        while True:
            idle = [group for group in piles.groups.values() if group.idle and group.round]
            over = [group for group in idle if group.round >= self.count.rounds]
            over += self._grant([group for group in idle if group.round < self.count.rounds])
            for group in over:
                self._close(group)
            # a group that was granted nothing waits for the others; with nobody to wait for it goes on
            if len(over) == len(idle) or not all(group.idle for group in piles.groups.values()):
                return

    def _close(self, group: Group) -> None:
        rollouts = Rollouts.join(group.pieces)
        if bool((rollouts.id.diff() < 0).any()):  # not in the order in which they happened to finish
            rollouts = rollouts.take(rollouts.id.argsort())
        dropped = "drop_group" in rollouts and bool(rollouts["drop_group"].any())
        refused = dropped or (self.keep is not None and not self.keep.keeps(rollouts))
        self.piles.close(group, rollouts, refused)

    def batch(self) -> Rollouts | None:
        """`groups` complete groups in the order they were opened, or None while there are too few.

        When the source is dry and nothing is out, the last batch may be smaller.
        """
        piles = self.piles
        if len(piles.ready) < self.groups and not (piles.ready and self._dry()):
            return None
        batch = Rollouts.join(piles.take_ready(self.groups)).put_facts(**self._facts())
        piles.next_batch()
        return batch

    def _dry(self) -> bool:
        return not self.piles.groups and self.piles.source.exhausted

    def after_update(self, learner: Any, batch: Rollouts) -> None:
        """The weights have changed: decides over the unfinished rows, and tells who follows what is
        learned."""
        piles, leftovers = self.piles, self.leftovers
        if piles.unfinished:
            too_old = leftovers.too_old(Rollouts.join(piles.unfinished), learner.policy.version)
            piles.give_up(too_old, leftovers.restarts)
        for dress in self.dress:
            if isinstance(dress, Listening):
                dress.after_update(learner, batch)
        if piles.source.classes is not None:
            piles.source.classes.after_update(batch)

    def metrics(self) -> dict[str, float]:
        """Rollouts and tokens in the piles, where a plan stops early, and how likely things are drawn."""
        classes = self.piles.source.classes
        drawn = [*self.dress, *([] if classes is None else [classes])]
        return self.held() | {
            name: value
            for each in drawn
            if isinstance(each, Measured)
            for name, value in each.metrics().items()
        }

    def held(self) -> dict[str, float]:
        """Rollouts and tokens in the piles, as metrics; {} for a plan that never stops early."""
        return {} if self.in_flight in (None, self.groups) else self.piles.counts()

    # checkpoint

    def state_dict(self) -> dict[str, Any]:
        """The three piles and counters, with data rows by number, and the states of dress parts."""
        return {**self.piles.state_dict(), "dress": [dress.state_dict() for dress in self._remembering]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, into a plan that has begun; it continues to the bit."""
        self.piles.load_state_dict(state)
        for dress, saved in zip(self._remembering, state["dress"], strict=True):
            dress.load_state_dict(saved)
