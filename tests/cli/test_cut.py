"""`oneloop cut`: what it writes is the subnet, and what it refuses is said in words."""

from pathlib import Path

import torch
from pytest import fixture, mark, raises
from transformers import AutoModelForCausalLM, AutoTokenizer

from oneloop.cli.cut import cut
from oneloop.core.storage import STRUCTURE
from oneloop.models.language.small_llama import SmallLlama
from oneloop.run.cutting import open_supernet

RECIPE = """
policy:
  language:
    model: {{small_llama: {{hidden_size: 16, layers: 2, heads: 2, alphabet: "0123456789+= "}}}}
    max_new_tokens: 4
{elastic}
phases:
  only:
    steps: 1
    plan: {{data: {{sum_chain: {{}}}}}}
    objective: [{{supervised: {{}}}}]
"""
ELASTIC = "    elastic: {layers: [1], heads: [1], width: [16]}"


def run_of(folder: Path, elastic: str) -> Path:
    """A run directory with one checkpoint, as a training leaves it."""
    run = folder / "run"
    model, tokenizer = SmallLlama(hidden_size=16, layers=2, heads=2, alphabet="0123456789+= ").build()
    model.save_pretrained(run / "checkpoint-1")
    tokenizer.save_pretrained(run / "checkpoint-1")
    (run / "recipe.yaml").write_text(RECIPE.format(elastic=elastic))
    (run / "metrics.jsonl").write_text("")
    (run / "checkpoint-1" / "loop").mkdir()
    (run / "checkpoint-1" / "loop" / STRUCTURE).write_text("{}")
    return run


@fixture
def run(tmp_path: Path) -> Path:
    return run_of(tmp_path, ELASTIC)


@mark.parametrize("place", [0, 3, -1])
def test_the_folder_that_is_cut_gives_the_logits_of_the_subnet(run, place, tmp_path, capsys):
    supernet = open_supernet(str(run))
    size, cost = list(supernet.sizes())[place]
    cut(str(run), float(cost), tmp_path / "small")
    said = " ".join(capsys.readouterr().out.split())
    assert f"{cost:,} FLOPs a token" in said
    small = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert f"{sum(weight.numel() for weight in small.parameters()):,} parameters" in said
    ids = AutoTokenizer.from_pretrained(tmp_path / "small")("12+3=", return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = supernet.subnets.view(size)(ids).logits
        torch.testing.assert_close(small(ids).logits, wanted, rtol=0, atol=1e-6)


def test_without_a_budget_the_subnets_are_listed(run, capsys):
    cut(str(run))
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 8
    assert lines[-1].endswith("2 layers, 2 heads, width 48")


@mark.parametrize(
    ("flops", "out", "message"),
    [
        (10.0, "small", "no subnet takes at most 10 FLOPs a token; there are:"),
        (1e9, None, "given without -o"),
        (None, "small", "given without --flops"),
        (1e9, "run", "run"),
    ],
)
def test_what_cannot_be_cut_is_refused(run, flops, out, message, tmp_path):
    with raises((ValueError, FileExistsError), match=message):
        cut(str(run), flops, None if out is None else tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_runs_without_subnets_and_folders_that_are_no_runs_are_refused(tmp_path):
    run = run_of(tmp_path, "")
    with raises(ValueError, match=r"policy\.language\.elastic names no subnets"):
        open_supernet(str(run))
    (run / "recipe.yaml").unlink()
    with raises(ValueError, match="is no run with a recipe"):
        open_supernet(str(run / "checkpoint-1"))
