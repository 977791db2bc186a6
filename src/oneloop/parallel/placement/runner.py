"""Runs the operations of a step over DTensors with the signatures of a plan."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate
from torch.utils._pytree import tree_map_only

from oneloop.parallel.placement.comm_bytes import here
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.notation import Where, letter, parsed, parts_of, shown
from oneloop.parallel.placement.operations import Operation, Program, Value
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.signatures import Signature


class Runner:
    """Runs the operations of a step with the signatures of a plan."""

    def __init__(self, plan: ShardingPlan, traced: Program, mesh: DeviceMesh):
        self.traced, self.mesh = traced, mesh
        self.signatures = {op.name: plan.signature(op.name) for op in traced.operations}
        # The plan's own ways: another kind of link may have others.
        self.ways = {
            (move.value, move.source, move.stops[-1]): tuple(map(parsed, move.stops)) for move in plan.moves
        }
        self.several = {op.name for op in traced.operations if len(op.outputs) > 1}
        self.whole: Where = (Replicate(),) * mesh.ndim
        self.grads = {name: parsed(text) for name, text in plan.parameters.items()}
        last: dict[Value, int] = {}
        for index, operation in enumerate(traced.operations):
            last |= dict.fromkeys(operation.inputs, index)
        for value in (traced.loss, *traced.gradients.values()):
            last[value] = len(traced.operations)
        self.last = last

    def run(
        self,
        parameters: Mapping[str, torch.Tensor],
        buffers: Mapping[str, torch.Tensor],
        given: Mapping[str, torch.Tensor],
    ) -> tuple[torch.Tensor, dict[str, DTensor]]:
        """The loss and the gradients; collectives are those of the plan and no others."""
        self.values: dict[Value, Any] = {}
        self.copies: dict[Value, dict[tuple[str, ...], DTensor]] = {}
        state = iter([parameters[name] for name in self.traced.step.parameters])
        known = iter([buffers[name] for name in self.traced.step.buffers])
        batch = iter([given[name] for name in self.traced.step.inputs])
        for index, operation in enumerate(self.traced.operations):
            if operation.node.op == "placeholder":
                source = {"parameter": state, "constant": known, "input": batch}[operation.kind]
                self._keep(operation, next(source))
            else:
                with here(operation.of, operation.phase):
                    self._keep(operation, self._call(operation))
            for value in operation.inputs:
                if self.last[value] == index:
                    self.values.pop(value, None)
                    self.copies.pop(value, None)
        gradients = {}
        makers = {op.name: op for op in self.traced.operations}
        for name, value in self.traced.gradients.items():
            with here(makers[value.producer].of, "backward"):
                gradients[name] = self._at(value, self.grads[name])
        with here("", "forward"):
            loss = self._at(self.traced.loss, self.whole)
        self.values, self.copies = {}, {}
        return loss.to_local(), gradients

    def _call(self, operation: Operation) -> Any:
        target: Any = operation.node.target
        if operation.kind == "constant":
            args, kwargs = self._filled(operation, [self.values[value] for value in operation.inputs])
            return target(*args, **kwargs)
        signature = self.signatures[operation.name]
        given = [self._at(v, where) for v, where in zip(operation.inputs, signature.inputs, strict=True)]
        args, kwargs = self._filled(operation, [x.to_local() for x in given] if signature.local else given)
        made = target(*args, **kwargs)
        if signature.local:
            return tree_map_only(torch.Tensor, self._whole, made)
        _check(operation, signature, made)
        return made

    def _filled(self, operation: Operation, tensors: list[Any]) -> Any:
        left = iter(tensors)
        node = operation.node
        return fx.node.map_arg((node.args, node.kwargs), lambda _: next(left))

    def _keep(self, operation: Operation, made: Any) -> None:
        listed = list(made) if isinstance(made, (tuple, list)) else [made]
        for value, one in zip(operation.outputs, listed, strict=True):
            if value is not None and value in self.last:
                self.values[value] = _alike(one)

    def _whole(self, tensor: torch.Tensor) -> DTensor:
        return DTensor.from_local(tensor, self.mesh, self.whole, run_check=False)

    def _at(self, value: Value, where: Where) -> DTensor:
        """The value at a placement; a copy is made once for all uses."""
        tensor = self.values[value]
        if not isinstance(tensor, DTensor):  # a constant: it stays plain for the constants made of it
            tensor = self._whole(tensor)
        wanted = tuple(map(letter, where))
        source = tuple(map(letter, tensor.placements))
        if wanted == source:
            return tensor
        kept = self.copies.setdefault(value, {})
        if wanted not in kept:
            name = f"{value.producer}:{value.index}" if value.producer in self.several else value.producer
            for stop in self.ways[name, shown(tensor.placements), shown(where)]:
                tensor = tensor.redistribute(self.mesh, stop)
            kept[wanted] = tensor
        return kept[wanted]


def _alike(made: Any) -> Any:
    """The tensor as if it had been moved to where it is.

    DTensor marks packed cuts that come out of a view, and its rules refuse one that is marked beside one that
    is not, although both are laid out alike.
    """
    if not isinstance(made, DTensor) or all(parts_of(placement) == 1 for placement in made.placements):
        return made
    local, mesh = made.to_local(), made.device_mesh
    return DTensor.from_local(
        local, mesh, made.placements, run_check=False, shape=made.shape, stride=made.stride()
    )


def _check(operation: Operation, signature: Signature, made: Any) -> None:
    listed = list(made) if isinstance(made, (tuple, list)) else [made]
    for one, where in zip(listed, signature.outputs, strict=True):
        if where is None or not isinstance(one, DTensor):
            continue
        if tuple(map(letter, one.placements)) != tuple(map(letter, where)):
            raise PlacementError(
                f"{operation.name} ({operation.node.target}) gave {one.placements} where the plan has "
                f"{where}: "
                "this version of torch is not the one that made the plan; make it again"
            )
