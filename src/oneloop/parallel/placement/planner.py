"""Makes plans: traces a step, asks DTensor for signatures, and solves for the cheapest placement."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from oneloop.parallel.placement.described import described
from oneloop.parallel.placement.operations import Program, program
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.search import Search, Wishes
from oneloop.parallel.placement.trace import trace


def plan(
    model: nn.Module,
    mesh: DeviceMesh | Sequence[int],
    inputs: Mapping[str, Any],
    wishes: Wishes | None = None,
    *,
    loss: Callable[[Any], torch.Tensor] | None = None,
) -> ShardingPlan:
    """The cheapest plan for a training step of `model` on `mesh`.

    `inputs`: keyword arguments of the model; only shapes and dtypes matter, and model and inputs may be on
    the meta device. No process group is needed. The plan holds for these shapes. `loss` maps the model's
    output to a scalar; default: the output's field `loss`.

    Raises Infeasible (a PlacementError) where no placement fits the budget, and PlacementError for models
    that cannot be traced, pins that do not fit, and unknown names.
    """
    return plan_traced(program(trace(model, inputs, loss)), mesh, wishes, name=type(model).__name__)


def plan_traced(
    traced: Program, mesh: DeviceMesh | Sequence[int], wishes: Wishes | None = None, *, name: str = "model"
) -> ShardingPlan:
    """As `plan`, for a step that is traced already."""
    asked = wishes or Wishes()
    sizes = tuple(mesh.shape) if isinstance(mesh, DeviceMesh) else tuple(mesh)
    search = Search(traced, sizes, asked)
    start = time.perf_counter()
    problem, solved = search.run()
    return described(problem, solved, search, name, time.perf_counter() - start)
