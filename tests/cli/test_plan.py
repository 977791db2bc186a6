"""`oneloop plan`: from a configuration to a table, a file and a page; what is refused."""

import json

import pytest
import torch
from transformers import LlamaConfig
from typer.testing import CliRunner

from oneloop.cli.main import COMMANDS, app
from oneloop.cli.plan import bytes_of, hand_names
from oneloop.cli.plan_model import built, sample
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.plan import ShardingPlan

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    config = LlamaConfig(vocab_size=32, num_key_value_heads=2, max_position_embeddings=32, **SIZES)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(path)
    return path


def run(*words):
    return CliRunner().invoke(app, ["plan", *(str(word) for word in words)], catch_exceptions=False)


def test_a_plan_is_printed_written_and_drawn(folder, tmp_path):
    words = [folder, "--mesh", 2, "--parameters", "1/2", "--batch", 2, "--length", 8]
    words += ["--compare", "hf,zero3,dp", "--json", tmp_path / "plan.json", "--html", tmp_path / "plan.html"]
    said = run(*words, "--explain", "lm_head.weight").output
    found = ShardingPlan.read(tmp_path / "plan.json")
    assert found.mesh == (2,) and found.model == "LlamaForCausalLM" and found.status == "optimal"
    assert f"{found.bytes_per_step / (1 << 20):,.3f} MiB in all" in said
    assert "lm_head.weight (32x16) lives at " in said
    # ZeRO-3 gathers 2 W and scatters G = W in fp32: 3 (p - 1) W
    weights = sum(torch.Size(shape).numel() for shape in found.shapes.values()) * 4
    (zero,) = [line.split() for line in said.splitlines() if line.startswith("zero3")]
    assert zero[1] == f"{3 * weights / (1 << 20):,.3f}"
    assert zero[2] == f"{found.bytes_per_step / (3 * weights):.3f}"
    page = (tmp_path / "plan.html").read_text()
    assert "model.layers.0.mlp.gate_proj" not in page and "model.layers.*.mlp.gate_proj" in page
    assert json.loads((tmp_path / "plan.json").read_text())["parameters"].keys() == found.parameters.keys()


def test_a_configuration_file_is_enough(folder):
    model = built(str(folder / "config.json"), torch.float32)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    given = sample(model.config, 2, 8, torch.float32)
    assert given["input_ids"].shape == (2, 8)


def test_sizes_and_names_are_read():
    assert bytes_of("--memory", "24GiB") == 24 << 30 and bytes_of("--memory", "1.5 kib") == 1536
    assert bytes_of("--memory", "") is None
    assert hand_names("hf, zero3") == ["hf", "zero3"]


@pytest.mark.parametrize(
    "words, says",
    [
        (["--memory", "24 apples"], "must be a size such as 24GiB"),
        (["--parameters", "3/2"], "a share such as 1/4"),
        (["--compare", "alpa"], "must be of dp, zero3, megatron, hf"),
        (["--mesh", "2x"], "such as 4 or 2x4"),
        (["--link", "string"], "must be one of ring"),
        (["--dtype", "int8"], "floating point type"),
        (["--length", 999], "at most 32 tokens"),
    ],
)
def test_what_does_not_fit_is_said(folder, words, says):
    with pytest.raises(PlacementError, match=says):
        run(folder, *words)


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(PlacementError, match="has no config.json"):
        built(str(tmp_path), torch.float32)
    (tmp_path / "model").mkdir()
    with pytest.raises(PlacementError, match="there is no such folder; did you mean .*/model"):
        built(str(tmp_path / "modle"), torch.float32)
    with pytest.raises(PlacementError, match="there is no file"):
        built(str(tmp_path / "config.json"), torch.float32)


def test_the_command_is_listed():
    assert "plan" in COMMANDS
