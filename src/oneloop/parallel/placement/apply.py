"""Runs a step exactly as planned: the traced graph over DTensors, tensors moved at the planned places
only."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor._redistribute import disable_redistribute_transform_optimization

from oneloop.parallel.placement.described import fingerprint
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.notation import Where
from oneloop.parallel.placement.operations import Program, program
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.runner import Runner
from oneloop.parallel.placement.trace import trace


def apply(
    plan: ShardingPlan,
    model: nn.Module,
    mesh: DeviceMesh,
    inputs: Mapping[str, Any],
    *,
    loss: Callable[[Any], torch.Tensor] | None = None,
) -> "PlannedStep":
    """The model's training step on `mesh`, as planned; its parameters become DTensors.

    `inputs` as given to `plan`: the step holds for their shapes. Every rank calls it with the same weights.
    Raises PlacementError, before any collective, where mesh, model or shapes are not those of the plan; and
    on all ranks where their plans differ.
    """
    if tuple(mesh.shape) != plan.mesh:
        there, here_ = ("x".join(map(str, sizes)) for sizes in (plan.mesh, mesh.shape))
        raise PlacementError(f"the plan is for a mesh of {there} ranks, the mesh has {here_}")
    traced = program(trace(model, inputs, loss))
    found = fingerprint(traced, plan.mesh)
    if found != plan.fingerprint:
        raise PlacementError(
            f"the plan was made for another model or other shapes (its hash is {plan.fingerprint}, this "
            f"step's is "
            f"{found}): make a plan for {type(model).__name__} and these inputs"
        )
    _agree(plan)
    distribute(model, mesh, plan.placements())
    return PlannedStep(plan, traced, model, mesh)


def _agree(plan: ShardingPlan) -> None:
    """Raise PlacementError on every rank where the ranks hold different plans: their collectives would wait
    for one another for ever."""
    hashes: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(hashes, plan.digest)
    if len(set(hashes)) > 1:
        raise PlacementError(f"ranks hold different plans ({', '.join(sorted(set(map(str, hashes))))})")


def distribute(model: nn.Module, mesh: DeviceMesh, placements: Mapping[str, Where]) -> None:
    """Make each parameter named in `placements` a DTensor that lives there; tied parameters stay one tensor.

    Every rank must hold the same weights: each keeps its own part and nothing is sent.
    """
    made: dict[int, nn.Parameter] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if name not in placements:
            continue
        if id(parameter) not in made:
            whole = DTensor.from_local(parameter.detach(), mesh, [Replicate()] * mesh.ndim, run_check=False)
            part = whole.redistribute(mesh, placements[name])
            made[id(parameter)] = nn.Parameter(part, requires_grad=parameter.requires_grad)
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner).register_parameter(leaf, made[id(parameter)])


class PlannedStep(nn.Module):
    """A training step as planned: `step(**inputs)` is the loss; `.backward()` fills the parameters'
    gradients.

    Every rank gives the whole batch; each reads its part. Forward and backward run together as one graph when
    the step is called, so a loss without a backward pass costs as much.
    """

    def __init__(self, plan: ShardingPlan, traced: Program, model: nn.Module, mesh: DeviceMesh):
        super().__init__()
        self.plan, self.model, self.mesh = plan, model, mesh
        self._runner = Runner(plan, traced, mesh)

    def forward(self, **inputs: Any) -> torch.Tensor:
        """The loss, alike on all ranks."""
        named = dict(self.model.named_parameters())
        parameters = [named[name] for name in self._runner.traced.step.parameters]
        given = {name: inputs[name] for name in self._runner.traced.step.inputs}
        loss: torch.Tensor = _Step.apply(self, given, *parameters)
        return loss

    def run(self, given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, DTensor]]:
        """The loss and the gradients by parameter name."""
        named = dict(self.model.named_parameters())
        buffers = dict(self.model.named_buffers())
        with torch.no_grad(), disable_redistribute_transform_optimization():
            return self._runner.run(named, buffers, given)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: PlannedStep, given: Mapping[str, torch.Tensor], *parameters: Any) -> Any:
        loss, gradients = step.run(given)
        ctx.gradients = [gradients.get(name) for name in step._runner.traced.step.parameters]
        return loss

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        scale = upstream[0]
        gradients = ctx.gradients
        ctx.gradients = None
        if float(scale) != 1.0:
            gradients = [None if g is None else g * float(scale) for g in gradients]
        return None, None, *gradients
