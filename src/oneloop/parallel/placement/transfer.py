"""Moving a tensor between two meshes that share no device: weights from a trainer to a sampler.

Slices of what every producer holds and every consumer needs are intersected, and each part is sent once.
Partial sums are reduced and scattered among the producers first, because sending every rank's sums to every
consumer would cost p1 p2 T in place of (p1 + p2 - 1) T.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch.distributed.tensor import Partial, Replicate, Shard

from oneloop.parallel.placement.boxing import fits
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.link import table
from oneloop.parallel.placement.notation import Where, is_cut, parsed, parts_of, shown

Box = tuple[tuple[int, int], ...]
"""Half-open range per axis of the whole tensor."""


@dataclass(frozen=True)
class Slice:
    """A part of the tensor sent from a producer to a consumer."""

    source: int
    """Rank in the producers' mesh."""
    target: int
    """Rank in the consumers' mesh."""
    box: Box
    volume: int
    """Bytes."""
    adds: bool = False
    """Whether the consumer adds up what it receives, because one of the two placements is a partial sum."""


@dataclass(frozen=True)
class Transfer:
    """How a tensor gets from one mesh to the other."""

    reduced: str
    """Placement that the producers take first by reduce-scatter; empty where there is no need."""
    reduce_volume: int
    """Bytes that the producers send among themselves for it."""
    slices: tuple[Slice, ...]

    @property
    def volume(self) -> int:
        """Bytes sent in all."""
        return self.reduce_volume + sum(one.volume for one in self.slices)


def transfer_plan(
    source_sizes: Sequence[int],
    source: str,
    target_sizes: Sequence[int],
    target: str,
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> Transfer:
    """Slices that move a tensor of `shape` from `source` on one mesh to `target` on another.

    Placements as in `oneloop.parallel.placement.notation`. With p1 producers, p2 consumers and T bytes: T
    where both are split; p2 T to whole copies; (p1 + p2 - 1) T from partial sums to whole copies. To partial
    sums only the consumers at 0 along the summed axis receive; the others start from zeros.

    Raises PlacementError where the placements do not fit the shape or the mesh.
    """
    given, wanted = _fitting(source, source_sizes, shape), _fitting(target, target_sizes, shape)
    reduce_volume, reduced = 0, ""
    if any(isinstance(p, Partial) for p in given) and _copies(wanted, target_sizes) > 1:
        scattered = _scattered(given, source_sizes, shape)
        if scattered is not None:
            reduce_volume = _reduction(given, source_sizes, math.prod(shape) * dtype.itemsize)
            given, reduced = scattered, shown(scattered)
    found = []
    for rank in product(*map(range, target_sizes)):
        if any(isinstance(p, Partial) and at for p, at in zip(wanted, rank, strict=True)):
            continue
        to, needs = _flat(rank, target_sizes), _boxes(wanted, target_sizes, rank, shape)
        for sender in _senders(given, source_sizes, rank):
            pairs = product(needs, _boxes(given, source_sizes, sender, shape))
            for common in filter(None, (_common(need, held) for need, held in pairs)):
                volume = math.prod(high - low for low, high in common) * dtype.itemsize
                adds = any(isinstance(p, Partial) for p in given)
                found.append(Slice(_flat(sender, source_sizes), to, common, volume, adds))
    return Transfer(reduced, reduce_volume, tuple(found))


def _fitting(text: str, sizes: Sequence[int], shape: Sequence[int]) -> Where:
    where = parsed(text)
    if len(where) != len(sizes) or not fits(shape, where, sizes):
        mesh, size = "x".join(map(str, sizes)), "x".join(map(str, shape))
        raise PlacementError(f"a tensor of {size} cannot be placed as {text} on a mesh of {mesh}")
    return where


def _copies(where: Where, sizes: Sequence[int]) -> int:
    return math.prod(n for n, p in zip(sizes, where, strict=True) if isinstance(p, Replicate))


def _scattered(where: Where, sizes: Sequence[int], shape: Sequence[int]) -> Where | None:
    """The placement with every partial sum cut along an axis that divides; None where none does."""
    for axis in range(len(shape)):
        tried = tuple(Shard(axis) if isinstance(p, Partial) else p for p in where)
        if fits(shape, tried, sizes):
            return tried
    return None


def _reduction(where: Where, sizes: Sequence[int], tensor: int) -> int:
    total, world = 0, math.prod(sizes)
    left = tensor // math.prod(n for n, p in zip(sizes, where, strict=True) if is_cut(p))
    for size, placement in zip(sizes, where, strict=True):
        if isinstance(placement, Partial):
            total += world // size * table("reduce_scatter", left, size)
            left //= size
    return total


def _senders(where: Where, sizes: Sequence[int], rank: Sequence[int]) -> list[tuple[int, ...]]:
    """Producers that a consumer asks: of whole copies one each, spread over the producers."""
    turn = sum(rank)
    choices = [
        [turn % size] if isinstance(p, Replicate) else list(range(size))
        for p, size in zip(where, sizes, strict=True)
    ]
    return list(product(*choices))


def _boxes(where: Where, sizes: Sequence[int], rank: Sequence[int], shape: Sequence[int]) -> list[Box]:
    """What a rank holds: one box, or one of each part of an axis that is cut within its parts."""
    ranges = [[(0, size)] for size in shape]
    for placement, size, at in zip(where, sizes, rank, strict=True):
        if is_cut(placement):
            low, high = ranges[placement.dim][0]
            parts = parts_of(placement)
            part = (high - low) // (size * parts)
            starts = [low + (one * size + at) * part for one in range(parts)]
            ranges[placement.dim] = [(start, start + part) for start in starts]
    return list(product(*ranges))


def _common(a: Box, b: Box) -> Box:
    found = tuple((max(x[0], y[0]), min(x[1], y[1])) for x, y in zip(a, b, strict=True))
    return found if all(low < high for low, high in found) else ()


def _flat(rank: Sequence[int], sizes: Sequence[int]) -> int:
    index = 0
    for at, size in zip(rank, sizes, strict=True):
        index = index * size + at
    return index
