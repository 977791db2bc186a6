"""What it takes to move a tensor from one placement to another: the collectives, as DTensor will run them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Partial, Placement, Replicate, Shard
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta
from torch.distributed.tensor._redistribute import _gen_transform_infos_non_cached

from oneloop.parallel.placement.link import Kind, Link, table
from oneloop.parallel.placement.notation import Where, is_cut, letter, parts_of


@dataclass(frozen=True)
class Collective:
    """One collective along a mesh axis; every group of that axis runs it at the same time."""

    kind: Kind
    axis: int
    """Mesh axis."""
    ranks: int
    """Ranks of a group."""
    groups: int
    """Groups along the axis: all ranks / `ranks`."""
    tensor: int
    """Bytes of the whole tensor that a group converts."""

    @property
    def volume(self) -> int:
        """Bytes that all ranks of the mesh send together, by the table in link.py."""
        return self.groups * table(self.kind, self.tensor, self.ranks)

    @property
    def volume_per_rank(self) -> float:
        """Bytes that a rank sends, by the table."""
        return self.volume / (self.groups * self.ranks)

    def sent(self, link: Link) -> int:
        """Bytes that all ranks send together over `link`."""
        return self.groups * link.sent(self.kind, self.tensor, self.ranks)

    def seconds(self, link: Link) -> float:
        """Seconds over `link`."""
        return link.seconds(self.kind, self.tensor, self.ranks, self.axis)


@dataclass(frozen=True)
class Route:
    """How a tensor moves: `stops` are the placements it passes, the last is the one wanted."""

    stops: tuple[Where, ...]
    collectives: tuple[Collective, ...]

    def sent(self, link: Link) -> int:
        """Bytes that all ranks send together over `link`."""
        return sum(collective.sent(link) for collective in self.collectives)

    def seconds(self, link: Link) -> float:
        """Seconds over `link`, one collective after the other."""
        return sum(collective.seconds(link) for collective in self.collectives)


class Boxing:
    """Routes between placements on a mesh, remembered by shape and dtype."""

    def __init__(self, mesh: DeviceMesh, link: Link):
        self.mesh, self.link = mesh, link
        self.sizes = tuple(mesh.shape)
        self._routes: dict[tuple[object, ...], Route | None] = {}

    def route(self, meta: TensorMeta, source: Where, target: Where) -> Route | None:
        """The cheapest route in bytes: DTensor's own, or its own by way of one other placement.

        None where there is none: a whole or split tensor is never made into partial sums.
        """
        key = (tuple(meta.shape), meta.dtype, tuple(map(letter, source)), tuple(map(letter, target)))
        if key not in self._routes:
            self._routes[key] = self._cheapest(meta, source, target)
        return self._routes[key]

    def smallest(self) -> list[Route]:
        """For each mesh axis the route of a scalar from partial sums to whole."""
        scalar = TensorMeta(torch.Size([]), (), torch.float32)
        whole: Where = (Replicate(),) * len(self.sizes)
        return [
            Route((whole,), self._direct(scalar, (*whole[:axis], Partial(), *whole[axis + 1 :]), whole))
            for axis, ranks in enumerate(self.sizes)
            if ranks > 1
        ]

    def _cheapest(self, meta: TensorMeta, source: Where, target: Where) -> Route | None:
        if not all(_possible(a, b) for a, b in zip(source, target, strict=True)):
            return None
        best = Route((target,), self._direct(meta, source, target))
        if len(best.collectives) < 2:
            return best
        for stop in self._stops(meta):
            if stop in (source, target) or not all(
                _possible(a, b) for a, b in zip(source, stop, strict=True)
            ):
                continue
            path = self._direct(meta, source, stop) + self._direct(meta, stop, target)
            if sum(c.sent(self.link) for c in path) < best.sent(self.link):
                best = Route((stop, target), path)
        return best

    def _stops(self, meta: TensorMeta) -> Iterator[Where]:
        choices: list[Placement] = [Replicate(), *map(Shard, range(len(meta.shape)))]
        return (
            stop for stop in product(choices, repeat=len(self.sizes)) if fits(meta.shape, stop, self.sizes)
        )

    def _direct(self, meta: TensorMeta, source: Where, target: Where) -> tuple[Collective, ...]:
        given = DTensorSpec(self.mesh, _unmasked(source), tensor_meta=meta)
        wanted = DTensorSpec(self.mesh, _unmasked(target), tensor_meta=meta)
        now, found = list(given.placements), []
        for step in _gen_transform_infos_non_cached(given, wanted):
            ranks = self.sizes[step.mesh_dim]
            kind = self._kind(*step.src_dst_placements)
            if kind and ranks > 1:
                cut = math.prod(n for n, p in zip(self.sizes, now, strict=True) if is_cut(p))
                tensor = math.prod(meta.shape) * meta.dtype.itemsize // cut
                if is_cut(now[step.mesh_dim]):
                    tensor *= ranks
                groups = math.prod(self.sizes) // ranks
                found.append(Collective(kind, step.mesh_dim, ranks, groups, tensor))
            now[step.mesh_dim] = step.src_dst_placements[1]
        return tuple(found)

    def _kind(self, source: Placement, target: Placement) -> Kind | None:
        if isinstance(source, Replicate) or source == target:
            return None
        if isinstance(source, Partial):
            return "reduce_scatter" if type(target) is Shard else "all_reduce"
        # DTensor makes and unmakes packed cuts from whole tensors on every device.
        plain = type(source) is Shard and type(target) is Shard
        return self.link.reshard if plain else "all_gather"


def fits(shape: Sequence[int], where: Sequence[Placement], sizes: Sequence[int]) -> bool:
    """Whether every cut of `where` falls evenly on a mesh of `sizes`; packed axes are cut once at most."""
    cuts: dict[int, int] = {}
    packed: set[int] = set()
    for placement, size in zip(where, sizes, strict=True):
        if is_cut(placement):
            if size > 1 and placement.dim in packed | ({*cuts} if parts_of(placement) > 1 else set()):
                return False
            if parts_of(placement) > 1:
                packed.add(placement.dim)
            cuts[placement.dim] = cuts.get(placement.dim, 1) * size * parts_of(placement)
    return all(axis < len(shape) and shape[axis] and shape[axis] % cut == 0 for axis, cut in cuts.items())


def local_bytes(meta: TensorMeta, where: Sequence[Placement], sizes: Sequence[int]) -> int:
    """Bytes that one rank holds."""
    cut = math.prod(n for n, p in zip(sizes, where, strict=True) if is_cut(p))
    return math.prod(meta.shape) * meta.dtype.itemsize // cut


def _possible(source: Placement, target: Placement) -> bool:
    return not isinstance(target, Partial) or letter(source) == letter(target)


def _unmasked(where: Where) -> Where:
    # Whether rows were masked changes how partial sums are added, not what is sent.
    return tuple(Partial() if isinstance(p, Partial) else p for p in where)


def meta_of(tensor: torch.Tensor) -> TensorMeta:
    """Shape, strides and dtype."""
    return TensorMeta(tensor.shape, tensor.stride(), tensor.dtype)
