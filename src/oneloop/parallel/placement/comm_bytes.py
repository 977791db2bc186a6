"""Counts the bytes that collectives carry, by recording each one that torch dispatches."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed._tools.mod_tracker import ModTracker
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from oneloop.parallel.placement.link import Kind, table

if TYPE_CHECKING:
    from oneloop.parallel.placement.plan import ShardingPlan

HERE: ContextVar[tuple[str, str] | None] = ContextVar("here", default=None)
"""Module and phase that the running operation belongs to, where a planned step says so."""

KINDS: dict[str, Kind] = {
    "all_gather_into_tensor": "all_gather",
    "all_gather_into_tensor_out": "all_gather",
    "all_gather_into_tensor_coalesced": "all_gather",
    "all_reduce": "all_reduce",
    "all_reduce_coalesced": "all_reduce",
    "reduce_scatter_tensor": "reduce_scatter",
    "reduce_scatter_tensor_coalesced": "reduce_scatter",
    "all_to_all_single": "all_to_all",
    "shard_dim_alltoall": "all_to_all",
    "broadcast": "broadcast",
    "_allgather_base_": "all_gather",
    "_reduce_scatter_base_": "reduce_scatter",
    "allgather_": "all_gather",
    "allgather_into_tensor_coalesced_": "all_gather",
    "allreduce_": "all_reduce",
    "allreduce_coalesced_": "all_reduce",
    "alltoall_base_": "all_to_all",
    "broadcast_": "broadcast",
    "reduce_scatter_": "reduce_scatter",
    "reduce_scatter_tensor_coalesced_": "reduce_scatter",
}
NAMESPACES = ("_c10d_functional", "c10d_functional", "_c10d_functional_autograd", "c10d", "_dtensor")
INPUT: dict[str, int] = {
    "_allgather_base_": 1,
    "_reduce_scatter_base_": 1,
    "allgather_": 1,
    "reduce_scatter_": 1,
}
"""{collective whose first argument is its output: index of the argument that is its input}."""
INPUT |= {"allgather_into_tensor_coalesced_": 1, "reduce_scatter_tensor_coalesced_": 1}


@dataclass(frozen=True)
class Recorded:
    """One collective that ran."""

    kind: Kind
    volume: int
    """Bytes that all ranks send together, by the table of `oneloop.parallel.placement.link`."""
    module: str
    phase: str


class CommBytes(TorchDispatchMode):
    """Records every collective that is dispatched inside `with CommBytes() as moved:`.

    Payloads are those of this rank; all ranks are taken to send alike, as they do where tensors are cut
    evenly. A collective of a group of p ranks counts for all world/p groups of its kind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[Recorded] = []
        self._tracker = ModTracker()

    def __enter__(self) -> "CommBytes":
        self._tracker.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._tracker.__exit__(*error)

    @property
    def total(self) -> int:
        """Bytes that all ranks sent together."""
        return sum(one.volume for one in self.recorded)

    @property
    def per_rank(self) -> float:
        """Bytes that a rank sent."""
        return self.total / dist.get_world_size()

    def by(self, what: str) -> dict[str, int]:
        """Bytes by `kind`, `module` or `phase`, most first."""
        found: Counter[str] = Counter()
        for one in self.recorded:
            found[getattr(one, what)] += one.volume
        return dict(found.most_common())

    def diff(self, plan: "ShardingPlan") -> list[str]:
        """How what ran departs from the plan, a sentence each; [] where it does not."""
        ran = Counter((one.kind, one.volume) for one in self.recorded)
        planned = Counter((one.kind, one.volume) for one in plan.collectives)
        sentences = [
            f"{count} x {kind} of {volume:,} B ran that the plan does not have"
            for (kind, volume), count in sorted((ran - planned).items())
        ]
        return sentences + [
            f"{count} x {kind} of {volume:,} B of the plan did not run"
            for (kind, volume), count in sorted((planned - ran).items())
        ]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # DTensor first: its collectives come back here with their payload
        out = func(*args, **(kwargs or {}))
        if isinstance(func, torch._ops.OpOverload) and func.namespace in NAMESPACES:
            self._record(func._opname, args)
        return out

    def _record(self, name: str, args: tuple[Any, ...]) -> None:
        kind = KINDS.get(name)
        if kind is None:
            return
        ranks, world = _ranks(args), dist.get_world_size()
        given = tree_leaves(args[INPUT.get(name, 0)])
        payload = sum(one.numel() * one.element_size() for one in given if isinstance(one, torch.Tensor))
        tensor = payload * ranks if kind in ("all_gather", "all_to_all") else payload
        volume = world * table(kind, tensor, ranks) // ranks
        module, phase = HERE.get() or self._named()
        self.recorded.append(Recorded(kind, volume, module, phase))

    def _named(self) -> tuple[str, str]:
        deepest = max(self._tracker.parents - {"Global"}, key=len, default="")
        return deepest.partition(".")[2], "backward" if self._tracker.is_bw else "forward"


def _ranks(args: tuple[Any, ...]) -> int:
    for arg in reversed(args):
        if isinstance(arg, str):
            name: Any = arg
            return int(torch._C._distributed_c10d._resolve_process_group(name).size())
        if isinstance(arg, dist.ProcessGroup):
            return arg.size()
        if isinstance(arg, torch.ScriptObject):
            return int(dist.ProcessGroup.unbox(arg).size())
    return dist.get_world_size()


@contextmanager
def here(module: str, phase: str) -> Iterator[None]:
    """Name the module and phase of the collectives that run inside."""
    token = HERE.set((module, phase))
    try:
        yield
    finally:
        HERE.reset(token)
