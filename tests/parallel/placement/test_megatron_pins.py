"""Where Megatron would lay weights: by the names of their modules, for Linear, Conv1D and experts in one."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from oneloop.parallel.placement.megatron_pins import megatron_pins


def operation(kind, of, shape):
    return SimpleNamespace(
        kind=kind, of=of, outputs=(SimpleNamespace(meta=SimpleNamespace(shape=torch.Size(shape))),)
    )


def pins(model, sizes, *, packed=frozenset(), inputs=()):
    weights = [operation("parameter", name, weight.shape) for name, weight in model.named_parameters()]
    given = [operation("input", name, shape) for name, shape in inputs]
    traced = SimpleNamespace(operations=weights + given, step=SimpleNamespace(packed=packed))
    return megatron_pins(traced, sizes, model)


def linear(name, inputs=8, outputs=16, kind=nn.Linear):
    return nn.ModuleDict({name: kind(inputs, outputs) if kind is nn.Linear else kind(outputs, inputs)})


@pytest.mark.parametrize("name", ["q_proj", "up_proj", "fc1", "w3", "dense_h_to_4h", "query_key_value"])
def test_a_column_layer_cuts_its_outputs_and_its_bias(name):
    assert pins(linear(name), (4,)) == {f"{name}.weight": "S0", f"{name}.bias": "S0"}


@pytest.mark.parametrize("name", ["o_proj", "down_proj", "fc2", "wo", "dense_4h_to_h"])
def test_a_row_layer_cuts_its_inputs_and_keeps_its_bias_whole(name):
    assert pins(linear(name), (4,)) == {f"{name}.weight": "S1", f"{name}.bias": "R"}


@pytest.mark.parametrize(
    ("name", "weight", "bias"), [("c_fc", "S1", "S0"), ("c_proj", "S0", "R"), ("other", "R", "R")]
)
def test_a_conv1d_is_turned(name, weight, bias):
    found = pins(linear(name, kind=Conv1D), (2,))
    assert found == {f"{name}.weight": weight, f"{name}.bias": bias}


def test_a_table_is_cut_by_tokens_and_a_norm_is_whole():
    model = nn.ModuleDict({"embed_tokens": nn.Embedding(12, 4), "norm": nn.LayerNorm(4)})
    assert pins(model, (3,)) == {"embed_tokens.weight": "S0", "norm.weight": "R", "norm.bias": "R"}
    assert pins(model, (5,))["embed_tokens.weight"] == "R", "12 tokens are not cut evenly over 5 ranks"


def test_experts_in_one_tensor_are_cut_within_each():
    experts = nn.ParameterDict({"gate_up_proj": torch.zeros(2, 16, 4), "down_proj": torch.zeros(2, 4, 8)})
    model = nn.ModuleDict({"experts": experts})
    assert pins(model, (4,)) == {"experts.gate_up_proj": "S1", "experts.down_proj": "S2"}
    packed = pins(model, (4,), packed=frozenset({(16, 2)}))
    assert packed == {"experts.gate_up_proj": "S1/2", "experts.down_proj": "S2"}


@pytest.mark.parametrize(
    ("sizes", "where"),
    [((4,), "S0/3"), ((2,), "S0/3"), ((8,), "R"), ((2, 2), "R,S0"), ((2, 8), "R,S0"), ((2, 5), "R,R")],
)
def test_a_packed_weight_is_cut_within_its_parts_on_one_axis_alone(sizes, where):
    model = linear("qkv_proj", inputs=8, outputs=24 if sizes != (8,) else 12)
    found = pins(model, sizes, packed=frozenset({(24, 3), (12, 3), (16, 2)}))
    assert found["qkv_proj.weight"] == where


def test_outer_axes_cut_the_batch_where_it_is_even():
    given = [("input_ids", (8, 5)), ("odd", (6, 5))]
    found = pins(linear("fc1"), (2, 2, 4), inputs=given)
    assert found == {"fc1.weight": "R,R,S0", "fc1.bias": "R,R,S0", "input_ids": "S0,S0,R"}
    assert "input_ids" not in pins(linear("fc1"), (4,), inputs=given), "one axis cuts the model alone"
