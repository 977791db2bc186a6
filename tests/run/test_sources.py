"""What a run reads is noticed when it changes: evaluation data, data of later phases, files of models."""

import json
from pathlib import Path

import pytest

from oneloop.recipe.recipe import load_recipe
from oneloop.run import sources as module
from oneloop.run.changes import Changed
from oneloop.run.run import Run
from oneloop.run.sources import of_files, source_changes, sources
from tests.engines.tiny_models import tiny
from tests.sample.policies.conftest import ALPHABET, character_tokenizer
from tests.support.stopped import Stop, StopAt
from tests.support.training import raw_recipe


def rows(name, *answers):
    lines = [json.dumps({"prompt": "abc"[n], "answer": answer}) for n, answer in enumerate(answers)]
    Path(name).write_text("\n".join(lines))


def model(folder, seed=0):
    tiny("llama", seed=seed).save_pretrained(folder)
    character_tokenizer(ALPHABET, 128).save_pretrained(folder)


def raw(**options):
    reinforce = raw_recipe()["phases"]["reinforce"] | {
        "steps": 3,
        "keep": None,
        "objective": ["policy_gradient"],
    }
    reinforce["plan"] = {"groups": 2, "count": {"uniform": {"n": 2}}}
    phases = {
        name: reinforce | {"plan": reinforce["plan"] | {"data": {"hub": {"path": f"{name}.jsonl"}}}}
        for name in ("first", "second")
    }
    phases = {
        name: {key: value for key, value in phase.items() if key != "keep"} for name, phase in phases.items()
    }
    return raw_recipe(
        phases=phases,
        evaluate={"data": {"hub": {"path": "held.jsonl"}}, "size": 2},
        policy={"language": {"model": "base", "max_new_tokens": 4, "lora": {"rank": 2, "alpha": 4}}},
        save_every=1,
        **options,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second", "held"):
        rows(f"{name}.jsonl", "1", "2", "3")
    model("base")
    return tmp_path


def train(resume=False, stop_at=100, **options):
    made = load_recipe(raw())[0]
    Run(made, Path("run"), resume, StopAt(stop_at, "step"), **options).train()


def test_other_evaluation_data_and_another_base_of_adapters_are_refused(folder):
    with pytest.raises(Stop):
        train(stop_at=2)
    rows("held.jsonl", "1", "2", "5")
    model("base", seed=1)
    with pytest.raises(Changed) as refused:
        train(resume=True)
    assert refused.value.faults[:2] == [
        "policy.model: its files changed after the checkpoint",
        "evaluate.data: its rows changed after the checkpoint; put it back, or go on all the same with "
        "--accept-changes",
    ]
    rows("held.jsonl", "1", "2", "3")
    model("base")
    train(resume=True)


def test_data_of_a_later_phase_is_compared_and_that_of_an_earlier_one_is_not(folder):
    with pytest.raises(Stop):
        train(stop_at=2)
    rows("second.jsonl", "1", "2", "5")
    with pytest.raises(Changed, match="^phases.second.plan.data: its rows changed after the checkpoint"):
        train(resume=True)
    with pytest.raises(Stop):
        train(resume=True, stop_at=5, accept_changes=True)  # in the second phase
    rows("first.jsonl", "1", "2", "5")
    train(resume=True)


def test_every_source_is_found_by_the_option_that_names_it(folder):
    made = sources(load_recipe(raw())[0])
    assert list(made) == [
        "policy.model",
        "phases.first.plan.data",
        "phases.second.plan.data",
        "evaluate.data",
    ]
    held = {"seed_contexts": {"held_out": {"hub": {"path": "held.jsonl"}}}}
    more = raw()
    more["phases"]["first"]["plan"]["dress"] = [held]
    more["policy"] = {"language": {"model": {"smollm2": {"folder": "base"}}}}
    found = sources(load_recipe(more)[0])
    assert found["policy.model.folder"] == made["policy.model"]
    assert found["phases.first.plan.dress[0].held_out"] == found["evaluate.data"]


def test_files_are_known_by_their_contents_and_adapters_by_their_base_too(folder):
    before = of_files(Path("base"))
    Path("base/notes.md").write_text("not of the model")
    assert of_files(Path("base")) == before
    Path("base/chat_template.jinja").write_text("{{ messages }}")
    assert of_files(Path("base")) != before
    Path("adapters").mkdir()
    Path("adapters/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    before = of_files(Path("adapters"))
    model("base", seed=2)
    assert of_files(Path("adapters")) != before
    # one block in five hundred of a large file is enough
    Path("base/model.bin").write_bytes(bytes(5_000_000))
    before = of_files(Path("base"))
    Path("base/model.bin").write_bytes(bytes(4_900_000) + b"\1" * 100_000)
    assert of_files(Path("base")) != before


def test_what_is_not_on_this_machine_is_not_compared():
    assert module.located("no/such-model-anywhere") is None and module.located("a b/c d") is None
    assert source_changes({"policy.model": "x"}, {}) == []
