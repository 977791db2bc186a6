"""What is known of model and data before weights are loaded; a run that cannot be leaves nothing behind."""

import string

import pytest
import torch

from oneloop.core.protocols import Demand
from oneloop.recipe.recipe import load_recipe
from oneloop.run.memory.estimate import estimate
from oneloop.run.run import Run
from oneloop.sample.policies.tokens.loading import outline
from oneloop.sample.policies.tokens.outline import shrunk, supported
from tests.engines.tiny_models import ARCHITECTURES, FURTHER, REFUSED, tiny
from tests.recipe.test_recipe import changed
from tests.sample.policies.conftest import ALPHABET, character_tokenizer

SMALL = {"small_llama": {"hidden_size": 16, "layers": 1, "heads": 2, "max_positions": 32}}


def recipe_of(model=SMALL, **options):
    language = {"model": model, "max_new_tokens": 6, **options}
    return load_recipe(changed(policy={"language": language}))[0]


def notes(rows, sampled=True, **options) -> list[str]:
    demand = Demand(name="train", data=rows, rollouts=4, sampled=sampled)
    return recipe_of(**options).policy.outline().notes([demand])


FAULTS = {
    "row 5: the model's tokenizer has no token for the character '²'": {"prompt": "2²="},
    "row 5: message 1 of 'prompt' .role user. has no content": {"prompt": [{"role": "user"}]},
    "row 5: .* no place for the column 'tools'": {
        "prompt": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function"}],
    },
    "the prompt of row 5 has 40 tokens, but the model reads at most 32": {"prompt": "x" * 40},
}


@pytest.mark.parametrize("sentence", FAULTS)
def test_a_row_that_cannot_be_taken_is_refused_before_and_after_loading_alike(sentence):
    policy = recipe_of().policy
    for looker in (policy.outline(), policy.open()):
        looker.check_row({"prompt": "1 + 1 ="}, "row 4", False)
        with pytest.raises(ValueError, match=f"^{sentence}"):
            looker.check_row(FAULTS[sentence], "row 5", False)
        with pytest.raises(ValueError, match="^row 6 has no 'completion' to learn from"):
            looker.check_row({"prompt": "1"}, "row 6", True)


def test_what_demonstrations_lose_is_said():
    rows = [{"prompt": "1+1=", "completion": "2"}, {"prompt": "1+1=", "completion": "one more than 1"}]
    (note,) = notes(rows, sampled=False)
    assert note.startswith("train: 1 of 2 demonstrations looked at are longer than there is room")
    assert "the longest has 16 tokens (policy.language.max_new_tokens: 6)" in note


def test_more_new_tokens_than_the_model_reads_are_said():
    assert notes([{"prompt": "1+1="}], max_new_tokens=31) == []
    (note,) = notes([{"prompt": "1+1="}], max_new_tokens=32)
    assert note.startswith("train: max_new_tokens is 32, but the model reads 32 tokens, prompt and answer")


def test_text_for_a_model_with_a_chat_template_is_said_once(tmp_path):
    text, chat = {"prompt": "12"}, {"prompt": [{"role": "user", "content": "12"}]}
    tiny("llama").save_pretrained(tmp_path)
    character_tokenizer(ALPHABET, 128).save_pretrained(tmp_path)
    (note,) = notes([text] * 9, model=str(tmp_path))
    assert "prompts are plain text, but the model has a chat template" in note
    assert notes([chat] * 9, model=str(tmp_path)) == []
    assert notes([text] * 9) == [], "a model made here has not learned to chat"
    (tmp_path / "loop").mkdir()
    assert notes([text] * 9, model=str(tmp_path)) == [], "nor has one that a run has left"
    (note,) = notes([text], chat_template_kwargs={"role": 1})
    assert note == "train: prompts are text, so chat_template_kwargs do nothing"


def test_an_answer_that_begins_or_ends_nowhere_is_said(tmp_path):
    chat = {"prompt": [{"role": "user", "content": "12"}]}
    tiny("llama").save_pretrained(tmp_path)
    tokenizer = character_tokenizer(ALPHABET, 128)
    for template, opening in (
        ("{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}", "<assistant>"),
        ("{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}", ""),
    ):
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path)
        found = notes([chat], model=str(tmp_path))
        assert [f"writes '{opening}' before an answer but not at the end" in note for note in found] == (
            [True] if opening else []
        )
    policy = recipe_of(model=str(tmp_path)).policy
    demand = Demand(name="train", data=[chat], rollouts=4, sampled=True)
    outline_of, endless = policy.outline(), policy.outline()
    endless.rows.prompts.eos = frozenset()
    (note,) = endless.notes([demand])
    assert note.startswith(
        "train: the model names no end token, so every rollout goes on to max_new_tokens (6)"
    )
    endless.stops = True
    assert endless.notes([demand]) == outline_of.notes([demand]) == []


@pytest.mark.parametrize("name", [*ARCHITECTURES, *FURTHER])
def test_a_supported_kind_is_tried_and_passes(name, tmp_path):
    tiny(name).save_pretrained(tmp_path)
    character_tokenizer(ALPHABET, 128).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    model, _ = outline(str(tmp_path), torch.float32, None)
    assert shrunk(model.config) is not None
    assert supported(model) == 128


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_that_is_not_supported_is_refused_and_leaves_no_folder(name, tmp_path):
    tiny(name).save_pretrained(tmp_path / "model")
    character_tokenizer(ALPHABET, 128).save_pretrained(tmp_path / "model")
    recipe = recipe_of(str(tmp_path / "model"))
    for fault in (recipe.policy.outline, lambda: Run(recipe, tmp_path / "run")):
        with pytest.raises(ValueError, match=f"^policy.language.model: .*{REFUSED[name][1]}"):
            fault()
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_loaded_leave_no_folder(tmp_path):
    tiny("llama", vocab_size=200).save_pretrained(tmp_path / "model")
    character_tokenizer(string.printable, 128).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="policy.language.model: cannot load"):
        Run(recipe_of(str(tmp_path / "model")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_estimate_that_fails_stops_nothing(monkeypatch):
    def broken(*_):
        raise KeyError("head_dim")

    monkeypatch.setattr("oneloop.sample.policies.tokens.outline.memory_rows", broken)
    found = estimate(recipe_of())
    assert "cannot be estimated for this model (KeyError: 'head_dim')" in found.sentence
    assert found.total == 0 and found.table().row_count == 1
