"""Weights cut over the ranks by torch's fully_shard (FSDP2): each rank holds 1/N of every one.

The policy keeps its own whole model, from which it samples; what is trained is a second one, cut block by
block. bf16 weights are cut in fp32 and gathered in bf16, so that the shares are the master weights. After a
step every rank's whole model takes the new weights over, the same bits on all of them.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from oneloop.core.protocols import Policy
from oneloop.parallel.ranks.blocks import blocks
from oneloop.parallel.ranks.gradient_norm import gradient_norm
from oneloop.parallel.ranks.guard import Guarded, MemoryGuard, can_be_guarded
from oneloop.parallel.ranks.lane import Lane


class Entry(nn.Module):
    """What a forward pass calls first: it gathers what no block has (embedding, last norm, head) and keeps it
    until the backward pass is over, since the head runs after it."""

    def __init__(self, model: nn.Module, first: nn.Module):
        super().__init__()
        self.model = model
        self.__dict__["first"] = first  # a part of `model`, whose parameters are not to be met twice

        self.stage = "forward"
        """Where the present pass is: forward, between, or backward."""

    def forward(self, **inputs: Any) -> Any:
        """The output of the decoder."""
        self.stage = "forward"
        made = self.__dict__["first"](**inputs)
        self.stage = "between"
        if made.last_hidden_state.requires_grad:
            made.last_hidden_state.register_hook(self._backward)
        return made

    def _backward(self, gradient: Tensor) -> None:
        self.stage = "backward"


class Sharded:
    """The shares of this rank; see `oneloop.parallel.ranks.held.Held`."""

    splits = True

    def __init__(self, policy: Any):
        self._policy: Policy = policy
        self.lane = Lane(dist.get_rank(), dist.get_world_size())
        trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
        self.dtype = trained[0].dtype
        model = copy.deepcopy(policy.model)
        narrow = self.dtype if self.dtype.itemsize < torch.float32.itemsize else None
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        self._memory = MemoryGuard()
        parts = blocks(model)
        guarded = bool(parts) and can_be_guarded(policy.entry(policy.model), blocks(policy.model)[0])
        for block in parts if guarded else ():
            block.forward = Guarded(block, self._memory)  # type: ignore[method-assign]
        entry = Entry(model, policy.entry(model))
        _shard(entry, model, trained[0].device, narrow)
        self._entry = entry
        whole = dict(policy.model.named_parameters())
        named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.names, self.parameters = list(named), list[Tensor](named.values())
        self._targets = [whole[name] for name in named]

    def learning(self) -> AbstractContextManager[None]:
        """See `Held`."""
        context: AbstractContextManager[None] = self._policy.learning(self._entry.model, self._entry)  # type: ignore[attr-defined]
        return context

    def add_up(self, weights: Sequence[Tensor]) -> None:
        """fully_shard sums gradients in the backward pass."""

    def norm(self, gradients: Sequence[Tensor]) -> float:
        """See `oneloop.parallel.ranks.held.Held`."""
        return gradient_norm(gradients)

    def idle(self, here: Any) -> None:
        """See `Held`: every rank calls the collectives of a pass, or none can."""
        (here.logprob.sum() * 0).backward()

    def ran_out(self) -> bool:
        """See `Held`."""
        return self._memory.ran_out()

    def rescue(self, here: Any) -> bool:
        """See `Held`: what is left of the pass is made for one action, and teaches nothing."""
        self._memory.short()
        if self._entry.stage != "between" or "hidden" not in vars(here):
            return False
        self.idle(here.first())
        return True

    @torch.no_grad()
    def publish(self) -> None:
        """See `Held`."""
        for target, share in zip(self._targets, self.parameters, strict=True):
            target.copy_(full(share))

    def share(self, weight: Tensor, whole: Tensor) -> Tensor:
        """See `oneloop.parallel.ranks.held.Held`."""
        return share_of(weight, whole)


def _shard(entry: Entry, model: nn.Module, device: torch.device, narrow: torch.dtype | None) -> None:
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    precision = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32 if narrow else None)
    for block in blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=precision)
    fully_shard(entry, mesh=mesh, mp_policy=precision)
    for module in entry.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # the weights of actions are those of the whole batch
            module.set_force_sum_reduction_for_comms(True)


def full(tensor: Tensor) -> Tensor:
    """`tensor` whole: all ranks' shares of one that is cut, gathered on each of them."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(weight: Tensor, whole: Tensor) -> Tensor:
    """This rank's part of `whole`, cut as `weight` is."""
    if not isinstance(weight, DTensor):
        return whole
    kept = whole.to(weight.device, weight.dtype)
    return distribute_tensor(kept, weight.device_mesh, weight.placements, src_data_rank=None)
