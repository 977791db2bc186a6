"""How the weights that are trained lie on the ranks, and what a learner does with them because of that.

    alone    one process                               nothing
    ddp      every rank has all of them                gradients are summed over the ranks before the step
    fsdp2    every rank has a share of each (ZeRO-3)   torch gathers a block for its forward and backward pass
                                                       and hands each rank its share of the summed gradient
    plan     as a plan of `parallel.placement` says    see planned.py

Gradients are summed and never averaged: the learner has given each action its weight in the whole batch
before the batch was cut (Li et al., arXiv 2006.15704; Zhao et al., arXiv 2304.11277).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from oneloop.core.protocols import Policy
from oneloop.parallel.ranks.gradient_norm import gradient_norm
from oneloop.parallel.ranks.lane import Lane
from oneloop.parallel.ranks.world import World

Parallel = Literal["fsdp2", "ddp", "plan"]
BUCKET = 1 << 23
"""Numbers summed over the ranks at a time (32 MiB in fp32)."""


@runtime_checkable
class Shardable(Protocol):
    """A policy whose learning can go through a copy of its model."""

    def entry(self, model: nn.Module) -> nn.Module:
        """The part of `model`, a copy of this policy's model, that a forward pass calls first."""

    def learning(self, model: nn.Module, entry: nn.Module) -> AbstractContextManager[None]:
        """A context in which `at` computes with `model`, whose `entry` is called in place of the policy's
        own."""


class Held(Protocol):
    """The weights that are trained."""

    parameters: list[Tensor]
    """What the optimiser moves, or has fp32 copies of; in fsdp2 this rank's shares."""
    names: list[str]
    """Their names in the policy's model."""
    dtype: torch.dtype
    """The type in which the policy keeps them."""

    def learning(self) -> AbstractContextManager[None]:
        """A context in which the policy's `at` computes with these weights."""

    lane: Lane
    """Which pieces of a batch this rank passes over."""
    splits: bool
    """Whether ranks take part in one another's passes, so that each must make as many as the others."""

    def add_up(self, weights: Sequence[Tensor]) -> None:
        """Sums the gradients of `weights`, in fp32, over the ranks, in place."""

    def norm(self, gradients: Sequence[Tensor]) -> float:
        """The norm of all gradients together, over all ranks."""

    def idle(self, here: Any) -> None:
        """Takes part in a forward and backward pass that teaches nothing; `here` may be any action."""

    def ran_out(self) -> bool:
        """Whether this rank ran out of memory within the latest pass, which went on all the same."""

    def rescue(self, here: Any) -> bool:
        """Finishes the pass over `here` that ran out of memory, for which other ranks wait; returns whether
        it could."""

    def publish(self) -> None:
        """Copies the weights into the policy's own model."""

    def share(self, weight: Tensor, whole: Tensor) -> Tensor:
        """This rank's share of `whole`, cut as `weight` is."""


class Whole:
    """The policy's own weights, all of them on every rank."""

    splits = False

    def __init__(self, policy: Policy, world_size: int = 1):
        named = {name: weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
        self.names, self.parameters = list(named), list[Tensor](named.values())
        self.dtype = self.parameters[0].dtype
        self._size = world_size
        self.lane = Lane(dist.get_rank() if world_size > 1 else 0, world_size)

    def learning(self) -> AbstractContextManager[None]:
        """A context that changes nothing: `at` goes through these weights anyway."""
        return nullcontext()

    @torch.no_grad()
    def add_up(self, weights: Sequence[Tensor]) -> None:
        """See `Held`."""
        if self._size == 1:
            return
        there = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32)
        there = there.to(weights[0].device)
        dist.all_reduce(there)  # a rank without work has no gradient where others have one
        summed: list[Tensor] = []
        for weight, ranks in zip(weights, there.tolist(), strict=True):
            if ranks:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                summed.append(weight.grad)
        for bucket in buckets(summed):
            flat = _flatten_dense_tensors(bucket)
            dist.all_reduce(flat)
            for own, total in zip(bucket, _unflatten_dense_tensors(flat, bucket), strict=True):
                own.copy_(total)

    def norm(self, gradients: Sequence[Tensor]) -> float:
        """See `Held`."""
        return gradient_norm(gradients)

    def idle(self, here: Any) -> None:
        """Nothing: passes are this rank's own, and there is none to take part in."""

    def ran_out(self) -> bool:
        """False: memory that runs out raises an error."""
        return False

    def rescue(self, here: Any) -> bool:
        """False: no other rank waits for the end of a pass."""
        return False

    def publish(self) -> None:
        """Nothing: these weights are the policy's own."""

    def share(self, weight: Tensor, whole: Tensor) -> Tensor:
        """`whole`: every rank has all of it."""
        return whole


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in lists that hold at most BUCKET numbers each; a larger tensor is alone in its
    list."""
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and held + tensor.numel() > BUCKET:
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    if bucket:
        yield bucket


def layout(policy: Policy, parallel: Parallel | None, size: int) -> Parallel | None:
    """How the weights of `policy` lie on `size` ranks; None for one, which holds all.

    `parallel` None: fsdp2 for a policy that can be cut, else ddp. Raises ValueError for what cannot be.
    """
    can = isinstance(policy, Shardable)
    if size == 1:
        return None
    if parallel in ("fsdp2", "plan") and not can:
        name = type(policy).__name__
        raise ValueError(
            f"learner.parallel: {parallel} cannot cut a {name}; take ddp, which copies its weights"
        )
    return parallel or ("fsdp2" if can else "ddp")


def hold(policy: Policy, options: Any, tokens: int, world: World) -> Held:
    """The weights of `policy` as the learner's `options` have them; `tokens` are those of a micro-batch.

    Imports are late: one rank needs none of them, and they take a second.
    """
    how = layout(policy, options.parallel, world.size)
    if how == "fsdp2":
        from oneloop.parallel.ranks.sharded import Sharded

        return Sharded(policy)
    if how == "plan":
        from oneloop.parallel.ranks.planned import Planned
        from oneloop.parallel.ranks.which_plan import which_plan

        return Planned(policy, which_plan(policy.model, options.plan, options.mesh, tokens, world))
    return Whole(policy, world.size)
