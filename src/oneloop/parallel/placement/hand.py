"""Plans made by hand, priced as a planner's plan is: data parallel, ZeRO-3, Megatron, one plan per linear
layer."""

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.testing._internal.distributed.fake_pg import FakeStore

from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.comm_bytes import CommBytes
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.link import table
from oneloop.parallel.placement.megatron_pins import megatron_pins
from oneloop.parallel.placement.operations import Program
from oneloop.parallel.placement.planner import plan_traced
from oneloop.parallel.placement.search import Wishes

HAND = ("dp", "zero3", "megatron", "hf")


@dataclass(frozen=True)
class HandPlan:
    """What a plan made by hand sends in one step."""

    name: str
    volume: int
    """Bytes that all ranks send together."""
    parameter_memory: int
    """Bytes of parameters that one rank keeps between two uses of them."""
    remark: str
    flops_per_rank: float | None = None
    """Floating point operations of a rank; None where they are not counted."""


def data_parallel(traced: Program, sizes: Sequence[int]) -> HandPlan:
    """Whole parameters on every rank, the batch cut over all ranks, gradients all-reduced."""
    held, gradients = _bytes(traced)
    ranks = math.prod(sizes)
    sent, remark = table("all_reduce", gradients, ranks), "gradients all-reduced; whole parameters"
    return HandPlan("dp", sent, held, remark, _flops(traced) / ranks)


def zero3(traced: Program, sizes: Sequence[int]) -> HandPlan:
    """Parameters cut over all ranks, gathered in the forward and again in the backward; gradients
    scattered."""
    held, gradients = _bytes(traced)
    ranks = math.prod(sizes)
    sent = 2 * table("all_gather", held, ranks) + table("reduce_scatter", gradients, ranks)
    remark = "parameters gathered twice, gradients scattered"
    return HandPlan("zero3", sent, -(-held // ranks), remark, _flops(traced) / ranks)


def megatron(traced: Program, sizes: Sequence[int], model: nn.Module, wishes: Wishes) -> HandPlan:
    """Megatron's placements of parameters, columns then rows, with the placements of activations that move
    least.

    Cut weights are never gathered: products are computed where the weights lie. Floating point operations
    weigh next to nothing. The planner places the activations, sequence parallel where that is cheaper, so
    this is the best that a hand-tuned plan can reach. The last mesh axis cuts the model, the others the
    batch. Raises PlacementError where no linear layer has a known name.
    """
    pins = megatron_pins(traced, sizes, model)
    if not any("S" in where for where in pins.values()):
        raise PlacementError("no linear layer has a name that says whether Megatron cuts its columns or rows")
    still = frozenset(name for name, where in pins.items() if "S" in where and name not in traced.step.inputs)
    free = Budget(optimizer=wishes.budget.optimizer)
    asked = replace(wishes, pins=pins, still=still, budget=free, balance=1e-4)
    found = plan_traced(traced, sizes, asked)
    remark = "columns then rows, best activations"
    return HandPlan("megatron", found.bytes_per_step, found.parameter_memory, remark, found.flops_per_rank)


def per_linear(
    model: nn.Module,
    sizes: Sequence[int],
    inputs: Mapping[str, Any],
    loss: Callable[[Any], torch.Tensor] | None = None,
) -> HandPlan:
    """The model class's own tensor-parallel plan, one style per linear layer, run by torch and recorded.

    It runs on stand-ins for tensors in a group without processes. The last mesh axis cuts the model; the
    others cut the batch and all-reduce gradients. Raises PlacementError where the class has no plan, and
    where a process group is open.
    """
    styles, left = _styles(model)
    if not styles:
        raise PlacementError(f"{type(model).__name__} has no tensor-parallel plan of its own")
    ranks = sizes[-1]
    with torch.device("meta"):
        empty = type(model)(model.config).to(next(model.parameters()).dtype).eval()
    with pretend_group(ranks):
        mesh = init_device_mesh("cpu", (ranks,))
        with FakeTensorMode(allow_non_fake_inputs=True):
            ran = _recorded(parallelize_module(_filled(empty), mesh, styles), sizes, inputs, loss)
    without = f", without {', '.join(left)}, which torch does not have and stay whole" if left else ""
    return replace(ran, remark=ran.remark + without)


def _recorded(
    stand_in: nn.Module,
    sizes: Sequence[int],
    inputs: Mapping[str, Any],
    loss: Callable[[Any], torch.Tensor] | None,
) -> HandPlan:
    copies = math.prod(sizes[:-1])
    given = {name: _rows(value, copies) for name, value in inputs.items()}
    try:
        with CommBytes() as moved:
            out = stand_in(**given)
            (out.loss if loss is None else loss(out)).backward()
    except Exception as error:  # heads that do not divide fail in a view, deep inside
        raise PlacementError(
            f"the class's own plan does not run on {sizes[-1]} ranks: {str(error).splitlines()[0]}"
        ) from error
    held = sum(_local(p) for p in stand_in.parameters())
    gradients = sum(_local(p) for p in stand_in.parameters() if p.grad is not None)
    sent = copies * moved.total + sizes[-1] * table("all_reduce", gradients, copies)
    return HandPlan("hf", sent, held, "the class's own plan, one style per linear layer")


def _styles(model: nn.Module) -> tuple[dict[str, Any], list[str]]:
    """Styles by name of the layers; and the kinds of style that torch cannot run."""
    named = dict(getattr(model, "_tp_plan", None) or {})
    known: dict[str, Callable[[], Any]] = {
        "colwise": ColwiseParallel,
        "rowwise": RowwiseParallel,
        "colwise_gather_output": lambda: ColwiseParallel(output_layouts=Replicate()),
        "colwise_rep": lambda: ColwiseParallel(output_layouts=Replicate()),
        "embedding_rowwise": lambda: RowwiseParallel(input_layouts=Replicate()),
    }
    # A style is for a module; names of mere parameters belong to the styles of experts.
    modules = [layer for layer, _ in model.named_modules()]
    runs = {
        pattern: known[style]()
        for pattern, style in named.items()
        if style in known and any(fnmatch.fnmatch(layer, pattern) for layer in modules)
    }
    left = sorted({style for pattern, style in named.items() if pattern not in runs})
    return runs, left


def _filled(model: nn.Module) -> nn.Module:
    """The model with every tensor on the meta device replaced by one of the mode that is on."""
    made: dict[int, nn.Parameter] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        owner, _, leaf = name.rpartition(".")
        stand_in = nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu"))
        model.get_submodule(owner).register_parameter(leaf, made.setdefault(id(parameter), stand_in))
    for name, value in list(model.named_buffers()):
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, torch.empty(value.shape, dtype=value.dtype, device="cpu"))
    return model


def _rows(value: Any, copies: int) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    shape = (
        (value.shape[0] // copies, *value.shape[1:])
        if value.ndim and value.shape[0] % copies == 0
        else value.shape
    )
    return torch.zeros(shape, dtype=value.dtype)


def _local(parameter: torch.Tensor) -> int:
    local: Any = getattr(parameter, "_local_tensor", parameter)
    return int(local.numel() * local.element_size())


def _flops(traced: Program) -> float:
    return sum(operation.flops for operation in traced.operations)


def _bytes(traced: Program) -> tuple[int, int]:
    sizes = {
        op.of: math.prod(op.outputs[0].meta.shape) * op.outputs[0].meta.dtype.itemsize
        for op in traced.operations
        if op.kind == "parameter" and op.outputs[0] is not None
    }
    return sum(sizes.values()), sum(sizes[name] for name in traced.gradients)


@contextmanager
def pretend_group(ranks: int) -> Iterator[None]:
    """A process group of `ranks` without processes: its collectives return at once, with the right shapes."""
    if dist.is_initialized():
        raise PlacementError("plans made by hand are recorded outside of process groups: close yours first")
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()
