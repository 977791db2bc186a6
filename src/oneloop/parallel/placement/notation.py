"""Placements as short text: `R` whole on every rank, `S0` cut along axis 0, `P` partial sums.

`S0/2` cuts each of the 2 equal parts of axis 0, so that a rank holds a piece of every part: the rows of a
weight that packs two (a gate and a projection) or three (queries, keys, values). A tensor has one letter per
mesh axis, outermost first: `S0,R`.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias, TypeGuard

import torch
from torch.distributed.tensor import Partial, Placement, Replicate, Shard
from torch.distributed.tensor.placement_types import _MaskPartial, _StridedShard

from oneloop.parallel.placement.fault import PlacementError

Where: TypeAlias = tuple[Placement, ...]
"""Where one tensor lives: a placement per mesh axis."""


def is_cut(placement: Placement) -> TypeGuard[Shard | _StridedShard]:
    """Whether every rank holds a part of the tensor: along an axis, or of each of an axis' equal parts."""
    return isinstance(placement, (Shard, _StridedShard))


def parts_of(placement: Placement) -> int:
    """In how many equal parts an axis is divided before each is cut; 1 for an ordinary cut."""
    return int(placement.split_factor) if isinstance(placement, _StridedShard) else 1


def letter(placement: Placement) -> str:
    """The letter of one placement. Raises PlacementError for kinds that plans do not use."""
    if isinstance(placement, _MaskPartial):
        rows = "x".join(map(str, placement.offset_shape or ()))
        return f"P[{rows}@{placement.offset_dim}]"
    if type(placement) is Shard:
        return f"S{placement.dim}"
    if isinstance(placement, _StridedShard):
        return f"S{placement.dim}/{placement.split_factor}"
    if isinstance(placement, Replicate):
        return "R"
    if isinstance(placement, Partial) and placement.reduce_op == "sum":
        return "P"
    raise PlacementError(f"no letter for the placement {placement}")


def shown(where: Sequence[Placement]) -> str:
    """The placements of a tensor as text."""
    return ",".join(map(letter, where))


def parsed(text: str) -> Where:
    """The placements that `shown` wrote. Raises PlacementError for other text."""
    return tuple(_placement(part.strip()) for part in text.split(","))


def _placement(word: str) -> Placement:
    if word in ("R", "P"):
        return Replicate() if word == "R" else Partial()
    if found := re.fullmatch(r"S(\d+)", word):
        return Shard(int(found[1]))
    if found := re.fullmatch(r"S(\d+)/([2-9]|[1-9]\d+)", word):
        return _StridedShard(int(found[1]), split_factor=int(found[2]))
    if found := re.fullmatch(r"P\[([\dx]+)@(\d+)\]", word):
        shape = torch.Size(int(size) for size in found[1].split("x"))
        return _MaskPartial(offset_shape=shape, offset_dim=int(found[2]))
    raise PlacementError(f"placement must be R, P or S and an axis such as S0, got '{word}'")


def plain(where: Sequence[Placement]) -> str:
    """As `shown`, the masked partial sums of a split embedding as `P`."""
    return re.sub(r"P\[[^]]*\]", "P", shown(where))
