"""Device meshes for planning: no process group is needed to ask how tensors would move."""

import math
from collections.abc import Sequence

import torch
from torch.distributed.device_mesh import DeviceMesh

from oneloop.parallel.placement.fault import PlacementError


def planning_mesh(sizes: Sequence[int]) -> DeviceMesh:
    """A mesh without processes: it answers questions on placements and cannot run a collective."""
    if not sizes or any(size < 1 for size in sizes):
        raise PlacementError(
            f"mesh must be sizes of at least 1 such as 4 or 2x4, got {'x'.join(map(str, sizes))}"
        )
    ranks = torch.arange(math.prod(sizes)).view(*sizes)
    return DeviceMesh("cpu", ranks, _init_backend=False, _rank=0)


def mesh_sizes(text: str) -> tuple[int, ...]:
    """Sizes of a mesh written as `2x4`. Raises PlacementError for other text."""
    parts = text.lower().split("x")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise PlacementError(f"mesh must be sizes such as 4 or 2x4, got '{text}'")
    return tuple(map(int, parts))
