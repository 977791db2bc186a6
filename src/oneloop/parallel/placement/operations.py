"""The step's graph as operations on values: which tensors an operation takes, gives, and how much it
computes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import getitem
from typing import Any

import torch
from torch import fx
from torch.distributed.tensor._dtensor_spec import TensorMeta
from torch.utils.flop_counter import flop_registry

from oneloop.parallel.placement.boxing import meta_of
from oneloop.parallel.placement.trace import VIEWS, StepGraph


@dataclass(frozen=True)
class Value:
    """One tensor of the graph: output `index` of the operation `producer`."""

    producer: str
    index: int
    meta: TensorMeta = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A node of the graph: an operation, a parameter, an input, or a constant."""

    node: fx.Node = field(compare=False)
    name: str
    inputs: tuple[Value, ...]
    """Tensor arguments, in the order in which they are written, lists flattened."""
    outputs: tuple[Value | None, ...]
    kind: str
    """`parameter`, `input`, `constant` (depends on neither) or `operation`."""
    of: str
    """The parameter's or input's name; else the module that ran the operation."""
    phase: str
    flops: float
    """Floating point operations on whole tensors."""


@dataclass(frozen=True)
class Program:
    """The operations of a step, in the order in which they run."""

    step: StepGraph
    operations: tuple[Operation, ...]
    loss: Value
    gradients: Mapping[str, Value]
    """Gradients by the name of their parameter; parameters without a gradient are left out."""


def program(step: StepGraph) -> Program:
    """Operations of the step's graph; `getitem` nodes are folded into the values they pick."""
    names = iter(_roles(step))
    values: dict[fx.Node, Value] = {}
    varying: set[fx.Node] = set()
    found: list[Operation] = []
    for node in step.graph.nodes:
        if node.op == "output":
            continue
        if node.target is getitem:
            source, index = node.args
            values[node] = Value(source.name, index, meta_of(node.meta["val"]))
            varying |= {node} & ({node} if source in varying else set())
            continue
        kind, of = next(names) if node.op == "placeholder" else ("", str(node.meta.get("module", "")))
        if not kind:
            kind = "operation" if any(source in varying for source in node.all_input_nodes) else "constant"
        if kind != "constant":
            varying.add(node)
        outputs = _outputs(node)
        if len(outputs) == 1 and isinstance(node.meta["val"], torch.Tensor):
            assert outputs[0] is not None
            values[node] = outputs[0]
        found.append(
            Operation(
                node=node,
                name=node.name,
                inputs=tuple(values[source] for source in tensor_arguments(node)),
                outputs=outputs,
                kind=kind,
                of=of,
                phase=str(node.meta.get("phase", "")),
                flops=_flops(node) if kind == "operation" else 0.0,
            )
        )
    loss, *gradients = next(node for node in step.graph.nodes if node.op == "output").args[0]
    given = zip(step.parameters, gradients, strict=True)
    return Program(
        step, tuple(found), values[loss], {name: values[node] for name, node in given if node is not None}
    )


def _roles(step: StepGraph) -> list[tuple[str, str]]:
    return [
        *(("parameter", name) for name in step.parameters),
        *(("constant", name) for name in step.buffers),
        *(("input", name) for name in step.inputs),
    ]


def tensor_arguments(node: fx.Node) -> list[fx.Node]:
    """Tensor arguments of a node with repeats, lists flattened, keywords last."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), lambda source: found.append(source))
    return found


def _outputs(node: fx.Node) -> tuple[Value | None, ...]:
    made = node.meta["val"]
    listed = list(made) if isinstance(made, (tuple, list)) else [made]
    return tuple(
        Value(node.name, index, meta_of(one)) if isinstance(one, torch.Tensor) else None
        for index, one in enumerate(listed)
    )


def _flops(node: fx.Node) -> float:
    packet = getattr(node.target, "overloadpacket", None)
    if packet in flop_registry:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: source.meta["val"])
        return float(flop_registry[packet](*args, **kwargs, out_val=node.meta["val"]))
    if node.target in VIEWS:
        return 0.0
    made = node.meta["val"]
    tensors: list[Any] = list(made) if isinstance(made, (tuple, list)) else [made]
    tensors += [source.meta["val"] for source in tensor_arguments(node)]
    return float(sum(math.prod(one.shape) for one in tensors if isinstance(one, torch.Tensor)))
