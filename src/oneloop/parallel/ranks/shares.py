"""Which rank does what: whole groups when sampling, pieces of a batch when learning.

Every rank computes the shares of all ranks from the same table, so nothing has to be sent.
"""

import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from oneloop.core import segments
from oneloop.core.rollouts import Rollouts

Pieces = Callable[[int], Iterator[Tensor]]
FINE = 4
"""Pieces per rank from which on one idle turn at the end of a pass no longer matters."""


def by_group(rollouts: Rollouts, rank: int, size: int) -> Tensor:
    """bool [n], the rows that are `rank`'s: whole groups, so that what they share is computed once.

    Groups are dealt in turn; fewer groups than ranks leave ranks without work.
    """
    return segments.labels(rollouts.group) % size == rank


def cut_evenly(pieces: Pieces, budget: int, size: int) -> list[Tensor]:
    """Pieces of a batch that `size` ranks can share evenly: no more than `budget` tokens each.

    `pieces(budget)` cuts the batch into pieces of so many tokens. They are made smaller until each rank has
    as many as every other, or so many that one more does not matter, or until they are single rollouts.
    """
    best = cut = list(pieces(budget))
    while len(cut) % size and len(cut) < FINE * size and budget > 1:
        budget //= 2
        cut = list(pieces(budget))
        if idle(len(cut), size) < idle(len(best), size):
            best = cut
    return best


def idle(pieces: int, size: int) -> float:
    """Share of the turns of `size` ranks in which one of them has nothing to do."""
    return 1 - pieces / (turns(pieces, size) * size) if pieces else 0.0


def turns(pieces: int, size: int) -> int:
    """Forward passes that every rank makes when so many pieces are dealt."""
    return -(-pieces // size)


def dealt(pieces: list[Tensor], rank: int, size: int) -> list[int]:
    """Numbers of the pieces that are `rank`'s, a turn each; ranks at the end may have one less."""
    return list(range(rank, len(pieces), size))


def digest(rollouts: Rollouts) -> str:
    """Hash of what a batch teaches: equal if ids, tokens, shares and advantages are, to the bit."""
    found = hashlib.sha256(rollouts.id.numpy().tobytes())
    for name in ("token", "latent", "share", "advantage", "logprob"):
        if name in rollouts.actions:
            found.update(rollouts.actions[name].contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
