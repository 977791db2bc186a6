"""Signatures mean what they say: an operation on the parts, put together, is the operation on the whole."""

import pytest
import torch
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from oneloop.parallel.placement.candidates import filled, propagator
from oneloop.parallel.placement.operations import program
from oneloop.parallel.placement.signatures import Prober
from oneloop.parallel.placement.trace import trace
from tests.parallel.placement.models import Gated, Megatron, Reader, batch

aten = torch.ops.aten


@pytest.fixture(scope="module")
def traced():
    return program(trace(Reader(), batch()))


def offered(traced, target, ranks=4, nth=0):
    found = [op for op in traced.operations if op.node.target == target]
    return {str(signature) for signature in Prober().signatures(found[nth], ranks)}


def test_a_product_has_the_six_rows_of_the_table(traced):
    rows = {"R R -> R", "S0 R -> S0", "R S1 -> S1", "S1 S0 -> P", "P R -> P", "R P -> P"}
    assert offered(traced, aten.mm.default) == rows


def test_a_sum_takes_partial_sums_with_partial_sums_only(traced):
    biased, residual = (offered(traced, aten.add.Tensor, nth=nth) for nth in (0, 2))
    assert not (biased | residual) & {"P R -> P", "R P -> P"}
    assert "P P -> P" in residual
    assert "P P -> P" not in offered(traced, aten.mm.default)


def test_vocabulary_parallel_embedding_is_offered(traced):
    assert "S0 R -> P[32x16@0]" in offered(traced, aten.embedding.default)
    assert "R S0 -> S0" in offered(traced, aten.embedding.default)


def test_a_packed_axis_is_cut_within_each_part():
    traced = program(trace(Gated(), {"x": torch.ones(4, 8)}))
    found = [op for op in traced.operations if op.node.target in (aten.mm.default, aten.view.default)]
    offered = [{str(s) for s in Prober(packed=frozenset({(32, 2)})).signatures(op, 4)} for op in found[:2]]
    assert "R S1/2 -> S1/2" in offered[0] and "S1/2 -> S2" in offered[1]


def test_softmax_is_cut_anywhere_but_along_its_axis(traced):
    assert offered(traced, aten._log_softmax.default) == {"R -> R", "S0 -> S0"}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    "model, inputs",
    [
        (Reader(), batch()),
        (Megatron(8, 8, 16), {"upstream": torch.ones(8, 8)}),
        (Gated(), {"x": torch.ones(4, 8)}),
    ],
)
def test_parts_put_together_are_the_whole(model, inputs, ranks):
    drawn = torch.Generator().manual_seed(0)
    checked = set()
    traced = program(trace(model, inputs))
    prober = Prober(packed=traced.step.packed)
    for operation in traced.operations:
        target = operation.node.target
        sized = target in propagator().op_to_shape_and_stride_idx  # DTensor rewrites their sizes
        if operation.kind != "operation" or sized or not operation.inputs:
            continue
        for signature in prober.signatures(operation, ranks):
            key = (target, str(signature), tuple(tuple(v.meta.shape) for v in operation.inputs))
            if signature.local or key in checked or "[" in str(signature):
                continue
            checked.add(key)
            whole = [_drawn(value.meta, drawn) for value in operation.inputs]
            cut = [_cut(x, where[0], ranks, drawn) for x, where in zip(whole, signature.inputs, strict=True)]
            expected = _run(operation, whole)
            made = [_run(operation, [parts[rank] for parts in cut]) for rank in range(ranks)]
            for index, where in enumerate(signature.outputs):
                if where is not None and expected[index].dtype.is_floating_point:
                    got = _joined([one[index] for one in made], where[0])
                    assert torch.allclose(got, expected[index], atol=1e-9), (target, str(signature))
    assert len(checked) > 20


def _drawn(meta, drawn):
    if meta.dtype.is_floating_point:
        return torch.rand(meta.shape, generator=drawn, dtype=torch.float64) + 0.5
    return torch.randint(0, 2, meta.shape, generator=drawn, dtype=meta.dtype)


def _cut(x, placement, ranks, drawn):
    if isinstance(placement, Shard):
        return [part.contiguous() for part in x.chunk(ranks, placement.dim)]  # as shards are
    if isinstance(placement, _StridedShard):
        pieces = [part.chunk(ranks, placement.dim) for part in x.chunk(placement.split_factor, placement.dim)]
        return [torch.cat(of_rank, placement.dim) for of_rank in zip(*pieces, strict=True)]
    if isinstance(placement, Replicate):
        return [x] * ranks
    parts = [torch.rand(x.shape, generator=drawn, dtype=x.dtype) for _ in range(ranks - 1)]
    return [*parts, x - sum(parts)]


def _joined(parts, placement):
    if isinstance(placement, Shard):
        return torch.cat(parts, placement.dim)
    if isinstance(placement, _StridedShard):
        pieces = [part.chunk(placement.split_factor, placement.dim) for part in parts]
        return torch.cat([part for parts in zip(*pieces, strict=True) for part in parts], placement.dim)
    if isinstance(placement, Partial):
        return sum(parts)
    assert all(torch.allclose(part, parts[0], atol=1e-9) for part in parts)
    return parts[0]


def _run(operation, tensors):
    args, kwargs = filled(operation.node, tensors)
    made = operation.node.target(*args, **kwargs)
    return list(made) if isinstance(made, (tuple, list)) else [made]
