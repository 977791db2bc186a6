"""Weights that lie where the planner puts them, tensor parallel and sharded ones side by side.

The plan gives each weight a placement on every axis of the mesh, and says by where the tokens lie what an
axis is for:

    data axis      the plan cuts the batch there    ranks pass over different pieces; a weight is gathered
                                                    before its layer, its gradient summed and cut again
    tensor axis    the batch is whole there         ranks pass over the same pieces; a linear layer multiplies
                                                    by its part of the weight, and outputs are put together

Between layers activations are whole on a tensor axis: the plan's own placements of activations hold for its
shapes alone, and micro-batches have many. As with fsdp2 the policy keeps its whole model to sample from.
"""

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate

from oneloop.core.protocols import Policy
from oneloop.parallel.placement.apply import distribute
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.ranks.blocks import blocks
from oneloop.parallel.ranks.gradient_norm import gradient_norm
from oneloop.parallel.ranks.lane import Lane
from oneloop.parallel.ranks.placed import Axes, Placed
from oneloop.parallel.ranks.sharded import Entry, full, share_of

PROBE = 12
"""Tokens on which the planned model is compared with the policy's own."""


class Planned:
    """The parts of this rank; see `oneloop.parallel.ranks.held.Held`."""

    splits = True

    def __init__(self, policy: Any, plan: ShardingPlan):
        self._policy: Policy = policy
        trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
        self.dtype = trained[0].dtype
        model = copy.deepcopy(policy.model)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        self._mesh = init_device_mesh(trained[0].device.type, plan.mesh)
        self.lane = _lane(self._mesh, data := data_axes(plan))
        known, whole = plan.placements(), (Replicate(),) * self._mesh.ndim
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        distribute(model, self._mesh, {name: known.get(plain(name), whole) for name in names})
        self._entry = PlannedEntry(model, policy.entry(model), Axes(self._mesh, data), self.dtype)
        own = dict(policy.model.named_parameters())
        named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.names, self.parameters = list(named), list[Tensor](named.values())
        self._targets = [own[name] for name in named]
        self._compare(policy)

    @torch.no_grad()
    def _compare(self, policy: Any) -> None:
        probe = torch.arange(PROBE, device=self._targets[0].device)[None] % 8
        asked = {"input_ids": probe, "use_cache": False}
        try:
            found = self._entry(**asked).last_hidden_state.float()
        except (RuntimeError, AssertionError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"learner.parallel: plan cannot run a {type(policy.model).__name__} ({why}); take fsdp2"
            ) from error
        expected = policy.entry(policy.model)(**asked).last_hidden_state.float()
        gap, size = float((found - expected).abs().max()), float(expected.abs().max())
        if not gap <= (1e-3 if self.dtype == torch.float32 else 0.1) * size:
            raise ValueError(
                f"learner.parallel: plan gives states that are off by {gap:.3g} on a scale of {size:.3g}: "
                f"a {type(policy.model).__name__} uses weights outside of its layers; take fsdp2"
            )

    def learning(self) -> AbstractContextManager[None]:
        """See `Held`."""
        context: AbstractContextManager[None] = self._policy.learning(self._entry.model, self._entry)  # type: ignore[attr-defined]
        return context

    @torch.no_grad()
    def add_up(self, weights: Sequence[Tensor]) -> None:
        """Sums what the ranks of data axes still hold apart: gradients of weights that lie whole there."""
        for weight in weights:
            grad, where = weight.grad, weight.placements  # type: ignore[attr-defined]
            if isinstance(grad, DTensor) and grad.placements != where:
                weight.grad = grad.redistribute(self._mesh, where)

    def norm(self, gradients: Sequence[Tensor]) -> float:
        """See `Held`."""
        return gradient_norm(gradients)

    def idle(self, here: Any) -> None:
        """See `Held`: every rank calls the collectives of a pass, or none can."""
        (here.logprob.sum() * 0).backward()

    def ran_out(self) -> bool:
        """See `Held`."""
        return False

    def rescue(self, here: Any) -> bool:
        """See `Held`: ranks of a tensor axis meet inside of blocks, so none can go on without one."""
        return False

    @torch.no_grad()
    def publish(self) -> None:
        """See `Held`."""
        self._entry.forget()
        for target, part in zip(self._targets, self.parameters, strict=True):
            target.copy_(full(part))

    def share(self, weight: Tensor, whole: Tensor) -> Tensor:
        """See `Held`."""
        return share_of(weight, whole)


class PlannedEntry(Entry):
    """What a forward pass calls first. It gathers what no block has (embedding, last norm, head) once a pass,
    so that ranks with different pieces make equally many collectives."""

    def __init__(self, model: nn.Module, first: nn.Module, axes: Axes, dtype: torch.dtype):
        super().__init__(model, first)
        inside = {module for block in blocks(model) for module in block.modules()}
        placed = [
            (module, Placed(module, axes, dtype))
            for module in model.modules()
            if any(isinstance(weight, DTensor) for weight in module._parameters.values())
        ]
        for module, forward in placed:
            module.forward = forward  # type: ignore[method-assign]
        self._outside = [forward for module, forward in placed if module not in inside]

    def forward(self, **inputs: Any) -> Any:
        """The output of the decoder."""
        for placed in self._outside:
            placed.gather()
        return super().forward(**inputs)

    def forget(self) -> None:
        """Lets go of what the latest pass has gathered."""
        for placed in self._outside:
            placed.gathered = None


def data_axes(plan: ShardingPlan) -> tuple[bool, ...]:
    """For each axis of the mesh whether the plan cuts the batch there."""
    first = next(iter(plan.inputs.values()), ",".join("R" for _ in plan.mesh))
    return tuple(place == "S0" for place in first.split(","))


def plain(name: str) -> str:
    """The name that a weight has without adapters around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _lane(mesh: DeviceMesh, data: Sequence[bool]) -> Lane:
    where = mesh.get_coordinate()
    assert where is not None
    number = 0
    for place, size, cut in zip(where, mesh.shape, data, strict=True):
        number = number * size + place if cut else number
    lanes = math.prod(size for size, cut in zip(mesh.shape, data, strict=True) if cut)
    return Lane(number, lanes, all(cut or place == 0 for place, cut in zip(where, data, strict=True)))
