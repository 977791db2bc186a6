"""How much of a step's tensors is alive at once on a rank.

A tensor lives from the operation that makes it to the last that uses it; views count as the tensor they show;
a copy moved to another placement lives from its first use to its last. Workspace inside operations is not
counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from oneloop.parallel.placement.boxing import local_bytes
from oneloop.parallel.placement.notation import Where
from oneloop.parallel.placement.operations import Value
from oneloop.parallel.placement.problem import Problem
from oneloop.parallel.placement.trace import VIEWS


@dataclass(frozen=True)
class Span:
    """When a tensor, or a copy of it at `target`, is alive: times are indices of operations, ends
    included."""

    value: Value
    first: int
    last: int
    target: Where | None = None
    """Placement of the copy; None: the tensor as it was made."""


@dataclass(frozen=True)
class Lifetimes:
    """Spans of the tensors of a problem."""

    problem: Problem

    @cached_property
    def last(self) -> dict[Value, int]:
        """Index of the last operation that reads a value, through views as well."""
        operations = self.problem.program.operations
        end = len(operations)
        found: dict[Value, int] = {}
        for value, uses in self.problem.uses.items():
            found[value] = max(end if use.slot < 0 or use.operation < 0 else use.operation for use in uses)
        for operation in reversed(operations):
            if operation.kind == "operation" and operation.node.target in VIEWS:
                shown = max((found.get(v, 0) for v in operation.outputs if v is not None), default=0)
                for source in operation.inputs:
                    found[source] = max(found.get(source, 0), shown)
        return found

    def made(self) -> Iterator[Span]:
        """Spans of tensors at the placement at which they are made. Parameters are counted apart, and views
        not at all."""
        for index, operation in enumerate(self.problem.program.operations):
            if operation.kind == "parameter" or operation.node.target in VIEWS:
                continue
            for value in operation.outputs:
                if value is not None and value in self.last:
                    yield Span(value, index, self.last[value])

    def copies(self, chosen: tuple[int, ...]) -> Iterator[Span]:
        """Copies at other placements under a choice of signatures."""
        for value, uses in self.problem.uses.items():
            producer = self.problem.producer[value]
            source = self.problem.options[producer][chosen[producer]].outputs[value.index]
            times: dict[Where, list[int]] = {}
            for use in uses:
                target = self.problem.wanted(use, chosen[use.operation])
                if target != source:
                    end = len(self.problem.program.operations)
                    times.setdefault(target, []).append(end if use.slot < 0 else use.operation)
            for target, when in times.items():
                yield Span(value, min(when), max(when), target)

    def alive(self, chosen: tuple[int, ...]) -> list[int]:
        """Bytes alive on a rank at each operation."""
        steps = [0] * (len(self.problem.program.operations) + 2)
        for span in (*self.made(), *self.copies(chosen)):
            where = span.target or self._made_at(span.value, chosen)
            size = local_bytes(span.value.meta, where, self.problem.boxing.sizes)
            steps[max(span.first, 0)] += size
            steps[max(span.last, span.first) + 1] -= size
        total, found = 0, []
        for step in steps[:-1]:
            total += step
            found.append(total)
        return found

    def _made_at(self, value: Value, chosen: tuple[int, ...]) -> Where:
        producer = self.problem.producer[value]
        where = self.problem.options[producer][chosen[producer]].outputs[value.index]
        assert where is not None
        return where
