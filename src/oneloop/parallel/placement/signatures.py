"""Signatures: the combinations of placements in which DTensor runs an operation without moving anything.

A signature is accepted only if DTensor, asked with exactly these inputs, keeps them as they are. So nothing
is moved inside an operation, and what a plan predicts is all that runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import fx
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor._dtensor_spec import DTensorSpec
from torch.distributed.tensor.placement_types import _MaskPartial

from oneloop.parallel.placement.boxing import fits
from oneloop.parallel.placement.candidates import candidates, filled, has_rule, propagator, schema_of, usable
from oneloop.parallel.placement.meshes import planning_mesh
from oneloop.parallel.placement.notation import Where, shown
from oneloop.parallel.placement.operations import Operation
from oneloop.parallel.placement.packed import Packed


@dataclass(frozen=True)
class Signature:
    """Placements of an operation's tensors; None where an output is absent."""

    inputs: tuple[Where, ...]
    outputs: tuple[Where | None, ...]
    local: bool = field(default=False, compare=False)
    """Run outside DTensor, on whole tensors: there is no rule."""

    def __str__(self) -> str:
        given = " ".join(map(shown, self.inputs))
        return f"{given} -> {' '.join(shown(where) if where else '-' for where in self.outputs)}"


@dataclass
class Prober:
    """Asks DTensor for the signatures of operations, once per operation and shapes."""

    packed: Packed = frozenset()
    """Axes that may be cut within each of their parts."""
    notes: dict[str, str] = field(default_factory=dict)
    """{what was not offered to the search: why}."""
    _found: dict[tuple[object, ...], tuple[Signature, ...]] = field(default_factory=dict)
    _meshes: dict[int, DeviceMesh] = field(default_factory=dict)

    def signatures(self, operation: Operation, ranks: int) -> tuple[Signature, ...]:
        """Signatures on one mesh axis of `ranks` ranks, the replicated one first."""
        key = (ranks, *_key(operation.node))
        if key not in self._found:
            mesh = self._meshes.setdefault(ranks, planning_mesh((ranks,)))
            self._found[key] = self._probe(operation, mesh)
        return self._found[key]

    def _probe(self, operation: Operation, mesh: DeviceMesh) -> tuple[Signature, ...]:
        whole: Where = (Replicate(),)
        replicated = tuple(whole for _ in operation.inputs)
        outputs = tuple(None if value is None else whole for value in operation.outputs)
        if operation.node.kwargs and any(isinstance(arg, fx.Node) for arg in operation.node.kwargs.values()):
            self._note(operation, "takes tensors by keyword")
            return (Signature(replicated, outputs, local=True),)
        if not has_rule(operation.node):
            self._note(operation, "DTensor has no rule for it")
            return (Signature(replicated, outputs, local=True),)
        found: dict[tuple[Where, ...], Signature] = {}
        for inputs in candidates(operation, mesh, self.packed):
            if signature := ask(operation, mesh, inputs):
                found.setdefault(signature.inputs, signature)
        if replicated not in found:
            self._note(operation, "DTensor's rule does not take whole tensors")
            return (Signature(replicated, outputs, local=True),)
        if len(found) == 1:
            self.notes.setdefault(f"{operation.node.target} on {_shapes(operation)}", "no split is offered")
        return (found.pop(replicated), *found.values())

    def _note(self, operation: Operation, why: str) -> None:
        self.notes[f"{operation.node.target} in {operation.of or 'the model'}"] = (
            f"runs on whole tensors: {why}"
        )


def ask(operation: Operation, mesh: DeviceMesh, inputs: Sequence[Where]) -> Signature | None:
    """The signature with these inputs; None where DTensor would move an input or cut unevenly."""
    sizes = tuple(mesh.shape)
    metas = [value.meta for value in operation.inputs]
    if not all(fits(meta.shape, where, sizes) for meta, where in zip(metas, inputs, strict=True)):
        return None
    specs = [DTensorSpec(mesh, where, tensor_meta=meta) for where, meta in zip(inputs, metas, strict=True)]
    try:
        told = propagator().propagate_op_sharding_non_cached(schema_of(operation.node, specs))
    except Exception:  # a rule that does not take this combination says so in many ways
        return None
    if told.redistribute_schema is not None:
        kept = [_kept(a, b) for a, b in zip(specs, told.redistribute_schema.args_spec, strict=True)]
        if told.needs_redistribute and not all(kept):
            return None
    made = told.output_spec
    listed = list(made) if isinstance(made, (tuple, list)) else [made]
    if len(listed) != len(operation.outputs):
        return None
    outputs: list[Where | None] = []
    for value, spec in zip(operation.outputs, listed, strict=True):
        if value is None or spec is None:
            if value is not None:
                return None
            outputs.append(None)
        elif usable(spec.placements) and fits(value.meta.shape, spec.placements, sizes):
            outputs.append(tuple(spec.placements))
        else:
            return None
    return Signature(tuple(inputs), tuple(outputs))


def _kept(given: DTensorSpec, wanted: DTensorSpec) -> bool:
    pairs = zip(given.placements, wanted.placements, strict=True)
    # A split embedding masks the tokens of other ranks itself, which moves nothing.
    return all(a == b or (isinstance(a, Replicate) and isinstance(b, _MaskPartial)) for a, b in pairs)


def _key(node: fx.Node) -> tuple[object, ...]:
    shapes = [(tuple(m.shape), tuple(m.stride()), m.dtype) for m in (s.meta["val"] for s in _sources(node))]
    return str(node.target), str(filled(node, ["tensor"] * len(shapes))), str(shapes)


def _sources(node: fx.Node) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), lambda source: found.append(source))
    return found


def _shapes(operation: Operation) -> str:
    return ", ".join("x".join(map(str, value.meta.shape)) or "scalar" for value in operation.inputs)
