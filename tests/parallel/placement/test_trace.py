from collections import Counter

import pytest
import torch
from torch import nn

from oneloop.models.language.small_llama import SmallLlama
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.operations import program
from oneloop.parallel.placement.trace import trace
from tests.parallel.placement.models import Gated, Reader, batch


def test_operations_name_their_module_and_phase():
    traced = program(trace(Reader(), batch()))
    places = {(op.of, op.phase) for op in traced.operations if op.kind == "operation"}
    assert {("blocks.0.up", "forward"), ("blocks.0.up", "backward"), ("head", "forward")} <= places


def test_layers_called_with_keywords_have_operations_of_their_own():
    made = SmallLlama(hidden_size=8, layers=3, heads=2, alphabet="ab", max_positions=8).build()[0]
    tokens = torch.zeros(2, 4, dtype=torch.long)
    traced = program(trace(made, {"input_ids": tokens, "labels": tokens}))
    places = Counter((op.of, op.phase) for op in traced.operations if op.kind == "operation")
    layers = [
        {
            (of.removeprefix(f"model.layers.{n}."), phase): count
            for (of, phase), count in places.items()
            if f".{n}." in of
        }
        for n in range(3)
    ]
    # the first learns of no input of its own; gradients of the others are added to what they were given
    assert layers[0].keys() == layers[1].keys() and layers[1] == layers[2]
    assert layers[0]["self_attn.q_proj", "backward"] == layers[1]["self_attn.q_proj", "backward"] > 3
    owner = {op.name: op.of.rpartition(".")[0] for op in traced.operations if op.kind == "parameter"}
    used = [
        (owner[op.inputs[0].producer], op.of)
        for op in traced.operations
        if op.inputs and op.inputs[0].producer in owner
    ]
    assert used and all(one == other for one, other in used), "a parameter is first seen by its own module"


def test_unused_parameters_have_no_gradient_and_tied_ones_are_one():
    traced = program(trace(Reader(tied=True), batch()))
    assert "unused" not in traced.gradients and "head.weight" not in traced.step.parameters
    assert set(traced.gradients) == set(traced.step.parameters) - {"unused"}


def test_a_mean_loss_is_a_sum_over_a_count():
    targets = [str(op.node.target) for op in program(trace(Reader(), batch())).operations]
    index = targets.index("aten.nll_loss_forward.default")
    assert targets[index + 1] == "aten.div.Tensor"


class Branches(nn.Linear):
    def forward(self, x):
        return super().forward(x).sum() if x.sum() > 0 else x.sum()


class Writes(nn.Linear):
    def forward(self, x):
        x.add_(1)
        return super().forward(x).sum()


class Lists(nn.Linear):
    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize(
    "kind, says", [(Branches, "depends on values"), (Writes, "in place"), (Lists, "must return its loss")]
)
def test_what_cannot_be_planned_is_said(kind, says):
    with pytest.raises(PlacementError, match=says):
        trace(kind(4, 4), {"x": torch.ones(2, 4)})


def test_neither_the_model_nor_its_mode_is_changed():
    model = Reader().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, batch())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Scales(nn.Linear):
    def forward(self, x):
        y = super().forward(x) * 2
        y /= 3.0
        return (y * y).sum()


def test_a_tensor_just_made_may_be_changed_in_place():
    """Writing into a fresh tensor is traced as making another, with the same loss."""
    model, x = Scales(4, 4).double(), torch.ones(2, 4, dtype=torch.float64)
    step = trace(model, {"x": x})
    targets = {str(node.target) for node in step.graph.nodes}
    assert "aten.div.Tensor" in targets and "aten.div_.Tensor" not in targets
    graph = torch.fx.GraphModule(nn.Module(), step.graph)
    loss, *gradients = graph(*[p.detach() for p in model.parameters()], x)
    expected = model(x)
    expected.backward()
    assert torch.allclose(loss, expected)
    for got, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad)


def test_an_even_split_is_a_view_and_selections():
    """With the same loss and gradients, and the packed axis named."""
    model, x = Gated().double(), torch.randn(4, 8, dtype=torch.float64)
    step = trace(model, {"x": x})
    targets = {str(node.target) for node in step.graph.nodes}
    assert {"aten.select.int", "aten.stack.default"} <= targets
    assert not targets & {"aten.split.Tensor", "aten.cat.default"}
    assert step.packed == {(32, 2)}
    loss, *gradients = torch.fx.GraphModule(nn.Module(), step.graph)(
        *[p.detach() for p in model.parameters()], x
    )
    expected = model(x)
    expected.backward()
    assert torch.equal(loss, expected)
    for got, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad)
