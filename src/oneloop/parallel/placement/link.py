"""What a collective costs: bytes and seconds on a kind of link.

`table` gives what all p ranks of a group send together to convert a tensor of T bytes, whole:

| from -> to | collective | bytes |
|---|---|---|
| S -> R | all_gather | (p-1) T |
| P -> S | reduce_scatter | (p-1) T |
| P -> R | all_reduce | 2 (p-1) T |
| S(i) -> S(j) | all_to_all | (p-1)/p T |
| R -> S | none: a slice of what is there | 0 |

Divided by p this is what a ring sends per rank.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

Kind = Literal["all_gather", "reduce_scatter", "all_reduce", "all_to_all", "broadcast"]


def table(kind: Kind, tensor: int, ranks: int) -> int:
    """Bytes that a group of `ranks` sends together for a logical tensor of `tensor` bytes."""
    if kind == "all_to_all":
        return (ranks - 1) * tensor // ranks
    return (2 if kind == "all_reduce" else 1) * (ranks - 1) * tensor


@dataclass(frozen=True, kw_only=True)
class Link:
    """A kind of link between ranks: how conversions are carried out, and how fast."""

    name: str
    reshard: Kind = "all_to_all"
    """How S(i) -> S(j) is carried out: DTensor gathers and cuts on CPU."""
    factor: Mapping[str, float] = field(default_factory=dict)
    """{collective: bytes on the wire divided by the bytes of the table}, for those where they differ."""
    bandwidth: tuple[float, ...] = (1e10,)
    """Bytes per second that a rank sends, per mesh axis; the last entry holds for further axes."""
    latency: tuple[float, ...] = (1e-5,)
    """Seconds per hop, per mesh axis; the last entry holds for further axes."""
    flops: float = 1e13
    """Floating point operations per second of a rank."""

    @staticmethod
    def ring() -> "Link":
        """Ring collectives and true all-to-all: what NCCL sends."""
        return Link(name="ring")

    @staticmethod
    def dtensor_cpu() -> "Link":
        """DTensor on CPU: S(i) -> S(j) is an all-gather and a cut. The volumes are those of the table."""
        return Link(name="dtensor_cpu", reshard="all_gather", bandwidth=(1e9,), flops=2e10)

    @staticmethod
    def gloo_wire() -> "Link":
        """Bytes on the wire with gloo, whose reduce_scatter sends as much as an all_reduce."""
        return Link(
            name="gloo_wire",
            reshard="all_gather",
            factor={"reduce_scatter": 2.0},
            bandwidth=(1e9,),
            flops=2e10,
        )

    @staticmethod
    def measure(mesh: DeviceMesh, megabytes: int = 4) -> "Link":
        """Time all-reduces and a matrix product on the ranks of `mesh`; every rank must call it.

        The slowest rank counts, so that all ranks hold the same numbers.
        """
        bandwidth, latency = [], []
        for axis in range(mesh.ndim):
            ranks, group = mesh.size(axis), mesh.get_group(axis)
            hops = max(1, 2 * (ranks - 1))
            small = _slowest(lambda group=group: _all_reduce(group, 1), mesh)
            large = _slowest(lambda group=group: _all_reduce(group, megabytes << 18), mesh)
            sent = table("all_reduce", megabytes << 20, ranks) / ranks
            latency.append(small / hops)
            bandwidth.append(max(sent, 1.0) / max(large - small, 1e-9))
        side = 512
        a = torch.randn(side, side, device=mesh.device_type)
        seconds = _slowest(lambda: a @ a, mesh)
        cpu = mesh.device_type == "cpu"
        return Link(
            name="measured",
            reshard="all_gather" if cpu else "all_to_all",
            bandwidth=tuple(bandwidth),
            latency=tuple(latency),
            flops=2 * side**3 / seconds,
        )

    def sent(self, kind: Kind, tensor: int, ranks: int) -> int:
        """Bytes on the wire of one group, all its ranks together."""
        return round(table(kind, tensor, ranks) * self.factor.get(kind, 1.0))

    def seconds(self, kind: Kind, tensor: int, ranks: int, axis: int) -> float:
        """Seconds of one collective along mesh axis `axis`: hops x latency + bytes per rank / bandwidth."""
        hops = (2 if kind == "all_reduce" else 1) * (ranks - 1)
        per_rank = self.sent(kind, tensor, ranks) / ranks
        return hops * _of(self.latency, axis) + per_rank / _of(self.bandwidth, axis)


def _of(values: tuple[float, ...], axis: int) -> float:
    return values[min(axis, len(values) - 1)]


def _all_reduce(group: dist.ProcessGroup, words: int) -> None:
    dist.all_reduce(torch.zeros(words), group=group)


def _slowest(work: object, mesh: DeviceMesh, tries: int = 5) -> float:
    assert callable(work)
    best = float("inf")
    for _ in range(tries):
        dist.barrier()
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    slowest = torch.tensor(best)
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
    return max(float(slowest), 1e-9)
