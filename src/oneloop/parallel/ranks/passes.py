"""The forward and backward passes of one optimiser step, dealt to the ranks, and what all of them found.

What is added up over the ranks is added in the order in which the batch was cut, so that sums do not depend
on who made which pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oneloop.core.protocols import Policy
from oneloop.core.rollouts import Rollouts
from oneloop.parallel.ranks.held import Held
from oneloop.parallel.ranks.shares import Pieces, cut_evenly, dealt, turns
from oneloop.parallel.ranks.world import World


class RankOutOfMemory(RuntimeError):
    """A rank ran out of memory, and no smaller pass can be agreed on."""


@dataclass(frozen=True)
class Passed:
    """What one pass found."""

    number: int
    """Number of its piece, in the order in which the batch was cut."""
    loss: float
    actions: Tensor
    """int64 [a], the actions of the piece."""
    values: dict[str, Tensor]
    """Readings [a] by name, on the CPU."""


class Passes:
    """This rank's passes of one step over the weights `held`, and `all` ranks' once they are made."""

    def __init__(self, world: World, held: Held, policy: Policy):
        self._world, self._held, self._policy = world, held, policy
        self._found: list[Passed] = []
        self._number = 0
        self._error: Exception | None = None
        self._out = False
        self._learned = policy.meter.learned if world.size > 1 else 0

    def mine(self, pieces: Pieces, budget: int, rollouts: Rollouts) -> Iterator[Tensor]:
        """The pieces [a] this rank passes over; where ranks take part in one another's passes it also makes
        empty ones, until it has made as many as every other."""
        lane = self._held.lane
        if lane.lanes == 1:
            for self._number, actions in enumerate(pieces(budget)):
                yield actions
            return
        cut = cut_evenly(pieces, budget, lane.lanes)
        numbers = dealt(cut, lane.number, lane.lanes)
        made = 0
        for self._number in numbers:
            if self._out:
                break
            yield cut[self._number]
            made += 1
        for _ in range((turns(len(cut), lane.lanes) - made) * self._held.splits):
            learned = self._policy.meter.learned
            self._held.idle(self._policy.at(rollouts, cut[-1][:1]))
            self._policy.meter.learned = learned  # nobody's work

    def add(self, loss: float, actions: Tensor, values: dict[str, Tensor]) -> None:
        """Notes what the pass over the latest piece found."""
        self._found.append(Passed(self._number, loss, actions, values))

    @contextmanager
    def may_fail(self, kind: type[Exception]) -> Iterator[None]:
        """A context in which an error of this kind is kept until all ranks have made their passes. Then all
        of them raise it, so that none waits for one that failed. One process raises it at once."""
        try:
            yield
        except kind as error:
            if self._world.size == 1:
                raise
            self._error = self._error or error

    @contextmanager
    def may_run_out(self, here: Any, budget: int) -> Iterator[None]:
        """A context for the pass over `here`. Where other ranks take part in it, a rank that runs out of
        memory finishes it without learning. Raises RankOutOfMemory where it cannot."""
        left = False
        try:
            yield
        except torch.OutOfMemoryError:
            if not self._held.splits:
                raise
            left = True
        if left and not self._held.rescue(here):  # outside of `except`, which holds the tensors of the pass
            raise RankOutOfMemory(
                f"rank {self._world.rank} ran out of memory in a pass of {budget} tokens, while the other "
                "ranks are in the middle of the same pass, so the run ends here. Begin one with a lower "
                "learner.tokens_per_micro_batch, or with policy.language.checkpointing: true"
            )
        self._out |= self._held.ran_out()

    def ran_out(self, budget: int) -> None:
        """Notes that this rank ran out of memory at `budget` tokens. It is called while that error is
        handled, and raises it again where no smaller pass can be made."""
        if budget == 1:
            raise
        self._out = True

    def all(self, budget: int) -> list[Passed] | None:
        """The passes, of at most `budget` tokens, of all ranks in order of their pieces; None where one ran
        out of memory. Raises, on every rank, the first error that waited."""
        if self._world.size == 1:
            return None if self._out else self._found
        meter = self._policy.meter
        mine, speaks = meter.learned - self._learned, self._held.lane.speaks
        said = (self._found if speaks else [], mine if speaks else 0)
        ranks = self._world.gather((said[0], self._error, self._out, said[1]))
        meter.learned += sum(learned for *_, learned in ranks) - mine
        if short := [rank for rank, (_, _, out, _) in enumerate(ranks) if out]:
            if budget == 1:
                raise RankOutOfMemory(f"rank {short[0]} has no memory for a pass of a single rollout")
            return None
        if error := next((error for _, error, _, _ in ranks if error is not None), None):
            raise error
        return sorted((one for found, *_ in ranks for one in found), key=lambda one: one.number)
