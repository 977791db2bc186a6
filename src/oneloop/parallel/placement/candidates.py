"""Combinations of input placements that may be signatures, from the lists that DTensor keeps."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from torch import fx
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.distributed.tensor._decompositions import DecompShardingStrategy
from torch.distributed.tensor._dtensor_spec import DTensorSpec
from torch.distributed.tensor._op_schema import OpSchema, OpSpec, OpStrategy
from torch.distributed.tensor._ops.single_dim_strategy import _ShardingPlaceholder
from torch.distributed.tensor.placement_types import _MaskPartial, _StridedShard

from oneloop.parallel.placement.notation import Where
from oneloop.parallel.placement.operations import Operation
from oneloop.parallel.placement.packed import Packed

MOST_COMBINATIONS = 128
"""Most combinations of placements tried one by one for an operation whose rule cannot be listed."""


def candidates(
    operation: Operation, mesh: DeviceMesh, packed: Packed = frozenset()
) -> Iterator[tuple[Where, ...]]:
    """Placements of the inputs on a mesh of one axis that are worth asking for; the replicated ones first."""
    seen = set()
    for inputs in _all_candidates(operation, mesh, packed):
        if inputs not in seen and usable(inputs):
            seen.add(inputs)
            yield tuple((placement,) for placement in inputs)


def cuts_of(shape: Sequence[int], axis: int, packed: Packed) -> Iterator[Shard | _StridedShard]:
    """Cuts along an axis: the ordinary one, and one within each part where its size is a packed one's."""
    yield Shard(axis)
    for parts in sorted(parts for size, parts in packed if size == shape[axis]):
        yield _StridedShard(axis, split_factor=parts)


def _all_candidates(
    operation: Operation, mesh: DeviceMesh, packed: Packed
) -> Iterator[tuple[Placement, ...]]:
    count = len(operation.inputs)
    yield (Replicate(),) * count
    target = operation.node.target
    if info := propagator().op_single_dim_strategy_funcs.get(target):
        metas = [value.meta for value in operation.inputs]
        schema = filled(operation.node, metas)
        for listed in info.func(target, tuple(schema[0]), schema[1]):
            placed = [Shard(p.dim) if isinstance(p, _ShardingPlaceholder) else p for p in listed[-count:]]
            plain = tuple(Replicate() if isinstance(p, _MaskPartial) or p is None else p for p in placed)
            yield plain
            yield from _within(plain, [meta.shape for meta in metas], packed)
        return
    shapes = [value.meta.shape for value in operation.inputs]
    choices: list[list[Placement]] = [
        [Replicate(), *(cut for d in range(len(shape)) for cut in cuts_of(shape, d, packed)), Partial()]
        for shape in shapes
    ]
    if rule := propagator().op_strategy_funcs.get(target):
        for seed in _seeds(choices):
            yield seed
            yield from _listed(operation, mesh, seed, rule)
        return
    many = 1
    for options in choices:
        many *= len(options)
    yield from product(*choices) if many <= MOST_COMBINATIONS else _seeds(choices)


def _within(
    placed: Sequence[Placement], shapes: Sequence[Sequence[int]], packed: Packed
) -> Iterator[tuple[Placement, ...]]:
    """The same cuts within each part, where every cut axis is of a packed size."""
    cut = [(p.dim, shape) for p, shape in zip(placed, shapes, strict=True) if type(p) is Shard]
    for parts in sorted({parts for _, parts in packed}) if cut else ():
        if all(axis < len(shape) and (shape[axis], parts) in packed for axis, shape in cut):
            yield tuple(_StridedShard(p.dim, split_factor=parts) if type(p) is Shard else p for p in placed)


def _seeds(choices: Sequence[Sequence[Placement]]) -> Iterator[tuple[Placement, ...]]:
    """One input placed and the others whole; and every input in one placement."""
    whole: list[Placement] = [Replicate()] * len(choices)
    for index, options in enumerate(choices):
        for option in options[1:]:
            yield (*whole[:index], option, *whole[index + 1 :])
    for option in max(choices, key=len, default=()):
        yield tuple(option if option in options else Replicate() for options in choices)


def _listed(
    operation: Operation, mesh: DeviceMesh, seed: Sequence[Placement], rule: Any
) -> Iterator[tuple[Placement, ...]]:
    metas = [value.meta for value in operation.inputs]
    specs = [DTensorSpec(mesh, (p,), tensor_meta=meta) for p, meta in zip(seed, metas, strict=True)]
    try:
        schema = propagator()._wrap_with_op_strategy(schema_of(operation.node, specs))
        listed = rule(schema)
    except Exception:  # as in `ask`
        return
    if isinstance(listed, OpStrategy):
        for option in listed.strategies:
            yield from _inputs_of(option, len(seed))


def _inputs_of(option: OpSpec, count: int) -> Iterator[tuple[Placement, ...]]:
    specs = option.input_specs
    if specs is None:
        specs = [option.output_spec] * count
    if len(specs) == count and all(spec is not None for spec in specs):
        yield tuple(spec.placements[0] for spec in specs)


def usable(where: Iterable[Placement]) -> bool:
    """Whether plans use these kinds of placement: whole, evenly cut, or partial sums."""
    return all(
        type(p) in (Shard, _StridedShard, Replicate) or (isinstance(p, Partial) and p.reduce_op == "sum")
        for p in where
    )


def has_rule(node: fx.Node) -> bool:
    """Whether DTensor can run the operation on tensors that are not whole."""
    target: Any = node.target
    known = propagator()
    tables: tuple[Any, ...] = (known.op_single_dim_strategy_funcs, known.op_strategy_funcs, known.op_to_rules)
    return any(target in table for table in tables) or DecompShardingStrategy.has_decomp(target)


def schema_of(node: fx.Node, specs: Sequence[DTensorSpec]) -> OpSchema:
    """What DTensor is asked: the operation with its tensors placed as in `specs`."""
    target: Any = node.target
    args, kwargs = filled(node, specs)
    known = propagator()
    info = known.op_to_schema_info.get(target)
    info = info or known.op_to_schema_info_for_single_dim_strategy.get(target)
    return OpSchema(target, tuple(args), kwargs, schema_info=info)


def filled(node: fx.Node, tensors: Sequence[Any]) -> Any:
    """The node's (args, kwargs) with its tensors replaced by `tensors`, in order."""
    left = iter(tensors)
    return fx.node.map_arg((node.args, node.kwargs), lambda _: next(left))


def propagator() -> Any:
    """DTensor's keeper of rules: a private part of torch, written against 2.13."""
    return DTensor._op_dispatcher.sharding_propagator
