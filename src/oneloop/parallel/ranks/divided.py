"""A policy's work divided among the ranks: each samples and annotates the groups that are its own.

Every rank has the policy's whole weights, so no rank needs another to do its share. What it made is sent to
all the others, and put in the order of the request: every rank then holds the table of one process.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from oneloop.core.protocols import Policy, Sampled
from oneloop.core.rollouts import Rollouts
from oneloop.parallel.ranks.shares import by_group
from oneloop.parallel.ranks.world import World

Sample = Callable[[Rollouts], Sampled]
Annotate = Callable[[Rollouts, Sequence[str]], Rollouts]


def dividing(world: World, policy: Policy) -> Sample:
    """`policy.sample`, divided; all ranks call it at once, with the same rows.

    A request that may end early (`enough`) is sampled by every rank whole: which rows are cut short depends
    on all that run beside them.
    """
    if world.size == 1:
        return policy.sample

    def sample(asked: Rollouts) -> Sampled:
        if asked.facts.get("enough") is not None or not len(asked):
            return policy.sample(asked)
        before = policy.meter.plain
        own = by_group(asked, world.rank, world.size)
        mine = policy.sample(asked.take(own)) if bool(own.any()) else None
        counted = policy.meter.plain - before
        answers = world.gather((_sent(mine), counted))
        policy.meter.plain += sum(evaluations for _, evaluations in answers) - counted
        made = [answer for answer, _ in answers if answer is not None]
        finished, unfinished = (_joined([pair[side] for pair in made], asked) for side in (0, 1))
        return finished, unfinished

    return sample


def annotating(world: World, policy: Policy) -> Annotate | None:
    """`policy.annotate`, divided; None for one process, whose policy does it."""
    if world.size == 1:
        return None

    def annotate(rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        own = by_group(rollouts, world.rank, world.size)[rollouts.owner]
        share = rollouts.actions.share
        before = policy.meter.plain
        mine = policy.annotate(rollouts.put_actions(share=torch.where(own, share, 0.0)), columns)
        counted = policy.meter.plain - before
        answers = world.gather(({name: mine.actions[name] for name in columns}, own, counted))
        policy.meter.plain += sum(evaluations for *_, evaluations in answers) - counted
        written = dict(answers[0][0])
        for values, theirs, _ in answers:
            written = {name: torch.where(theirs, values[name], written[name]) for name in columns}
        return rollouts.put_actions(written)

    return annotate


def _sent(sampled: Sampled | None) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The tables without data rows, which every rank has."""
    if sampled is None:
        return None
    finished, unfinished = (piece.without("example").state_dict() for piece in sampled)
    return finished, unfinished


def _joined(pieces: Sequence[dict[str, Any]], asked: Rollouts) -> Rollouts:
    """All pieces in the order of `asked`, with its data rows."""
    table = Rollouts.join([Rollouts.from_state(piece) for piece in pieces])
    place = {number: row for row, number in enumerate(asked.id.tolist())}
    order = sorted(range(len(table)), key=lambda row: place[int(table.id[row])])
    table = table.take(torch.tensor(order, dtype=torch.long))
    examples = [asked.example[place[number]] for number in table.id.tolist()]
    return table.put(example=examples).put_facts(**asked.facts)
