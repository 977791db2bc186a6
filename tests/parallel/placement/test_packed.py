"""Even splits become views with an axis of parts; values and gradients stay what they were."""

import pytest
import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from oneloop.parallel.placement.packed import unpacked

aten = torch.ops.aten


def traced(function, *inputs):
    """The graph of `function`, in which joined tensors count as gradients."""
    made = make_fx(function, tracing_mode="fake")(*inputs)
    for node in made.graph.nodes:
        if node.op == "call_function":
            node.meta["phase"] = "backward" if node.target is aten.cat.default else "forward"
    return made


def run(made, *inputs):
    made.graph.lint()
    return fx.GraphModule(made, made.graph)(*inputs)


def targets(made):
    return [node.target for node in made.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("shape", "axis", "parts"),
    [((4, 6), 1, 2), ((4, 6), -1, 3), ((4, 6), 0, 4), ((2, 3, 8), 2, 2), ((6,), 0, 3)],
)
def test_equal_parts_are_picked_from_a_view_and_are_the_same(shape, axis, parts):
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)

    def function(x):
        pieces = x.chunk(parts, axis)
        return sum(piece * (2**index) for index, piece in enumerate(pieces))

    made = traced(function, x)
    assert unpacked(made.graph) == {(shape[axis], parts)}
    assert aten.split.Tensor not in targets(made)
    assert targets(made).count(aten.select.int) == parts and aten.view.default in targets(made)
    assert torch.equal(run(made, x), function(x))


@pytest.mark.parametrize("sizes", [(1, 5), (4, 2), (6,)])
def test_uneven_parts_and_a_single_one_stay_as_they_are(sizes):
    x = torch.arange(12.0).view(2, 6)

    def function(x):
        return sum(piece.sum() for piece in x.split(sizes, 1))

    made = traced(function, x)
    before = targets(made)
    assert unpacked(made.graph) == frozenset() and targets(made) == before
    assert run(made, x) == 66.0


def test_equal_sizes_by_name_are_even_and_a_part_nobody_reads_is_dropped():
    x = torch.arange(12.0).view(2, 6)

    def function(x):
        first, _, third = x.split((2, 2, 2), 1)
        return first - third

    made = traced(function, x)
    assert unpacked(made.graph) == {(6, 3)}
    assert run(made, x).tolist() == [[-4.0, -4.0]] * 2


def test_a_gradient_is_joined_by_a_stack_where_its_axis_was_split():
    x = torch.arange(8.0).view(2, 4)

    def function(x):
        gate, up = x.chunk(2, 1)
        return torch.cat([up * 3, gate * 5], 1)

    made = traced(function, x)
    assert unpacked(made.graph) == {(4, 2)}
    assert aten.cat.default not in targets(made) and aten.stack.default in targets(made)
    assert run(made, x).tolist() == [[6.0, 9.0, 0.0, 5.0], [18.0, 21.0, 20.0, 25.0]]


@pytest.mark.parametrize("join", [lambda a, b: torch.cat([a, b, a], 1), lambda a, b: torch.cat([a, b], 0)])
def test_what_joins_other_parts_is_left_alone(join):
    x = torch.arange(20.0).view(5, 4)

    def function(x):
        return join(*x.chunk(2, 1))

    made = traced(function, x)
    unpacked(made.graph)
    assert aten.cat.default in targets(made)
    assert torch.equal(run(made, x), function(x))
