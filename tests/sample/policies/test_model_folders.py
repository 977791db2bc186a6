"""Folders of models as users have them: in shards, without pad or end tokens, named from another place."""

import shutil

import pytest
import torch

from oneloop.sample.policies.language import Language
from tests.core.test_protocols import LittleLlama
from tests.sample.policies.conftest import asked

ROWS = [{"prompt": "a", "completion": "bc"}, {"prompt": "b", "completion": "c"}]


@pytest.fixture(scope="module")
def made():
    """A model of which no configuration names an end or a pad token."""
    model, tokenizer = LittleLlama().build()
    tokenizer.pad_token = tokenizer.eos_token = None
    for options in (model.config, model.generation_config):
        options.eos_token_id = options.pad_token_id = None
    return model, tokenizer


@pytest.fixture(scope="module")
def shards(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "my mödel 数"
    model, tokenizer = made
    model.save_pretrained(folder, max_shard_size="2KB")
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("model-0000*-of-*.safetensors"))) > 2
    return folder


@pytest.fixture(scope="module")
def policy(shards):
    return Language(model=str(shards), max_new_tokens=3, device="cpu").open()


def test_shards_are_one_model(policy, made):
    expected = made[0].state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in policy.model.state_dict().items())


def test_a_relative_name_is_seen_from_the_working_directory(shards, monkeypatch):
    monkeypatch.chdir(shards.parent)
    here = Language(model=f"./{shards.name}", device="cpu")
    assert here.open().model.config.hidden_size == 16
    monkeypatch.chdir(shards)
    with pytest.raises(ValueError, match="policy.language.model: .*my mödel 数"):
        here.open()


def test_a_shard_that_is_missing_is_named(shards, tmp_path):
    less = tmp_path / "less"
    shutil.copytree(shards, less)
    (gone,) = less.glob("model-00002-of-*.safetensors")
    gone.unlink()
    with pytest.raises(ValueError, match=rf"policy.language.model: cannot load .*{gone.name}"):
        Language(model=str(less), device="cpu").open()


def test_without_an_end_token_every_rollout_runs_to_its_limit(policy):
    finished, unfinished = policy.sample(asked(ROWS, n=2))
    assert policy.eos == frozenset() and len(unfinished) == 0
    assert finished.status == ["length"] * 4
    assert torch.bincount(finished.owner).tolist() == [3] * 4


def test_without_an_end_token_demonstrations_end_with_their_text(policy):
    finished, _ = policy.demonstrate(asked(ROWS, n=1))
    assert finished.actions.token.tolist() == [3, 4, 4], "b, c and c: nothing is put behind them"
    assert finished.text == ["b c", "c"]


def test_without_a_pad_token_prompts_of_several_lengths_are_sampled_as_alone(policy):
    rows = [{"prompt": "a"}, {"prompt": "abcab"}]
    together, _ = policy.sample(asked(rows, n=1))
    for place in range(2):
        one = asked(rows, n=1).take(torch.tensor([place]))
        alone, _ = policy.sample(one)
        mine = together.actions.token[together.owner == place]
        assert alone.actions.token.tolist() == mine.tolist()
