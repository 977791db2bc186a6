"""The choice to be made: a signature for every operation, and what each choice costs."""

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch.distributed.tensor import Replicate

from oneloop.parallel.placement.boxing import Boxing, Route, local_bytes
from oneloop.parallel.placement.notation import Where, is_cut
from oneloop.parallel.placement.operations import Operation, Program, Value
from oneloop.parallel.placement.signatures import Signature
from oneloop.parallel.placement.trace import VIEWS

Objective = Literal["bytes", "seconds"]


@dataclass(frozen=True)
class Use:
    """One use of a value: input `slot` of an operation, or what a gradient or the loss must become."""

    operation: int
    """Index of the operation whose signature decides the placement; of a gradient, the parameter's."""
    slot: int
    """Index of the input; -1: the placement of the operation's output (a gradient lives as its parameter)."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Operations with the signatures open to each, and prices."""

    program: Program
    options: tuple[tuple[Signature, ...], ...]
    """Signatures per operation."""
    boxing: Boxing
    objective: Objective = "bytes"
    still: frozenset[str] = frozenset()
    """Parameters that no operation may take at another placement than their own."""
    balance: float = 0.05
    """Bytes that weigh as much as one floating point operation of a rank, for the objective bytes."""

    @cached_property
    def uses(self) -> dict[Value, list[Use]]:
        """Every use of every value."""
        index = {op.name: i for i, op in enumerate(self.program.operations)}
        found: dict[Value, list[Use]] = {}
        for i, operation in enumerate(self.program.operations):
            for slot, value in enumerate(operation.inputs):
                found.setdefault(value, []).append(Use(i, slot))
        owner = {op.of: i for i, op in enumerate(self.program.operations) if op.kind == "parameter"}
        for name, value in self.program.gradients.items():
            found.setdefault(value, []).append(Use(owner[name], -1))
        found.setdefault(self.program.loss, []).append(Use(-1, 0))
        self.producer.update({value: index[value.producer] for value in found})
        return found

    @cached_property
    def producer(self) -> dict[Value, int]:
        """Index of the operation that makes a value; filled by `uses`."""
        return {}

    def wanted(self, use: Use, signature: int) -> Where:
        """The placement that a use asks for, given the signature of its operation."""
        if use.operation < 0:
            return (Replicate(),) * len(self.boxing.sizes)
        option = self.options[use.operation][signature]
        where = option.outputs[0] if use.slot < 0 else option.inputs[use.slot]
        assert where is not None
        return where

    def route(self, value: Value, source: Where, target: Where) -> Route | None:
        """The route of a value; None where there is none, or where the value must stay as it is."""
        if source != target and value in self._still:
            return None
        return self.boxing.route(value.meta, source, target)

    @cached_property
    def _still(self) -> set[Value]:
        found: set[Value] = set()
        for operation in self.program.operations:
            kept = operation.kind == "parameter" and operation.of in self.still
            views = operation.node.target in VIEWS and any(value in found for value in operation.inputs)
            if kept or views:
                found |= {value for value in operation.outputs if value is not None}
        return found

    def price(self, route: Route) -> float:
        """What a route costs: bytes of all ranks, or seconds."""
        link = self.boxing.link
        return route.sent(link) if self.objective == "bytes" else route.seconds(link)

    def flops(self, operation: Operation, signature: Signature) -> float:
        """Floating point operations of a rank that runs an operation with a signature."""
        return operation.flops / _share(signature, self.boxing.sizes)

    def work(self, operation: Operation, signature: Signature) -> float:
        """What running an operation costs: weighed bytes, or seconds."""
        flops = self.flops(operation, signature)
        if self.objective == "seconds":
            return flops / self.boxing.link.flops
        return self.balance * math.prod(self.boxing.sizes) * flops

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The role of each operation in its layer; the same operation of every repeated layer has the same
        role."""
        seen: Counter[tuple[str, str, str]] = Counter()
        found = []
        for operation in self.program.operations:
            target = str(operation.node.target) if operation.node.op == "call_function" else operation.kind
            place = (operation.phase, operation.of, target)
            seen[place] += 1
            layer = re.sub(r"\.\d+\b", ".*", operation.of)
            found.append(f"{operation.phase} {layer} {target} {seen[place]}")
        return tuple(found)

    def preference(self, operation: int, signature: Signature) -> float:
        """A number in [0, 1) that decides ties; it is the same in all repeated layers."""
        return zlib.crc32(f"{self.roles[operation]} {signature}".encode()) / 2**32


def _share(signature: Signature, sizes: Sequence[int]) -> int:
    """By how much the cuts of a signature divide the work."""
    places = [where for where in (*signature.inputs, *signature.outputs) if where is not None]
    return math.prod(size for axis, size in enumerate(sizes) if any(is_cut(where[axis]) for where in places))


def parameter_bytes(problem: Problem, operation: int, signature: int) -> int:
    """Bytes that a rank holds of a parameter."""
    value = problem.program.operations[operation].outputs[0]
    where = problem.options[operation][signature].outputs[0]
    assert value is not None and where is not None
    return local_bytes(value.meta, where, problem.boxing.sizes)
