"""The signatures open to each operation on a mesh: one per axis, in every combination that falls evenly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from torch.distributed.tensor import Placement, Replicate

from oneloop.parallel.placement.boxing import fits
from oneloop.parallel.placement.candidates import cuts_of
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.notation import Where, shown
from oneloop.parallel.placement.operations import Operation
from oneloop.parallel.placement.signatures import Prober, Signature


@dataclass(frozen=True, kw_only=True)
class Open:
    """Which signatures a search may use."""

    prober: Prober
    sizes: tuple[int, ...]
    pins: Mapping[str, Where] = field(default_factory=dict)
    """Placements that parameters and inputs must have, by name."""

    def options(
        self,
        operations: Sequence[Operation],
        held: Sequence[Signature] | None = None,
        axis: int | None = None,
    ) -> tuple[tuple[Signature, ...], ...]:
        """Signatures of each operation; with `axis`, all other axes stay as in `held`."""
        return tuple(
            self._of(operation, None if held is None else held[i], axis)
            for i, operation in enumerate(operations)
        )

    def _of(self, operation: Operation, held: Signature | None, axis: int | None) -> tuple[Signature, ...]:
        per_axis = [
            self._along(operation, size) if axis is None or held is None or k == axis else (_along(held, k),)
            for k, size in enumerate(self.sizes)
        ]
        found = []
        for parts in product(*per_axis):
            whole = _joined(parts)
            if self._fits(operation, whole) and self._pinned(operation, whole):
                found.append(whole)
        if not found:
            self._refuse(operation)
        return tuple(found)

    def _along(self, operation: Operation, size: int) -> tuple[Signature, ...]:
        if operation.kind == "operation":
            return self.prober.signatures(operation, size)
        places: list[Placement] = [Replicate()]
        if operation.kind == "parameter" or operation.of in self.pins:
            assert operation.outputs[0] is not None
            shape = operation.outputs[0].meta.shape
            places += [
                cut
                for d in range(len(shape))
                for cut in cuts_of(shape, d, self.prober.packed)
                if fits(shape, (cut,), (size,))
            ]
            for d in range(len(shape)):
                if shape[d] % size and operation.kind == "parameter":
                    self.prober.notes[f"S{d} of {operation.of}"] = f"{shape[d]} is not a multiple of {size}"
        given = ((Replicate(),),) * len(operation.inputs)
        return tuple(
            Signature(given, tuple(None if value is None else (place,) for value in operation.outputs))
            for place in places
        )

    def _fits(self, operation: Operation, signature: Signature) -> bool:
        given = zip(operation.inputs, signature.inputs, strict=True)
        made = zip(operation.outputs, signature.outputs, strict=True)
        return all(
            value is None or where is None or fits(value.meta.shape, where, self.sizes)
            for value, where in (*given, *made)
        )

    def _pinned(self, operation: Operation, signature: Signature) -> bool:
        pin = self.pins.get(operation.of) if operation.kind in ("parameter", "input") else None
        return pin is None or signature.outputs[0] == pin

    def _refuse(self, operation: Operation) -> None:
        value = operation.outputs[0]
        shape = "x".join(map(str, value.meta.shape)) if value else "?"
        pin = self.pins.get(operation.of)
        mesh = "x".join(map(str, self.sizes))
        raise PlacementError(
            f"{operation.of} ({shape}) cannot be placed as {shown(pin) if pin else 'asked'} on a mesh of "
            f"{mesh}: "
            "the axis is absent, or its size is not a multiple of the ranks that cut it"
        )


def _along(signature: Signature, axis: int) -> Signature:
    return Signature(
        tuple((where[axis],) for where in signature.inputs),
        tuple(None if where is None else (where[axis],) for where in signature.outputs),
        signature.local,
    )


def _joined(parts: Sequence[Signature]) -> Signature:
    if len(parts) == 1:
        return parts[0]
    inputs = tuple(
        tuple(where[0] for where in wheres) for wheres in zip(*(p.inputs for p in parts), strict=True)
    )
    outputs = []
    for wheres in zip(*(p.outputs for p in parts), strict=True):
        outputs.append(None if None in wheres else tuple(where[0] for where in wheres if where is not None))
    return Signature(inputs, tuple(outputs), any(p.local for p in parts))
