import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from oneloop.models.language.small_llama import SmallLlama, character_tokenizer, nearest_multiples

TINY = {"hidden_size": 16, "layers": 1, "heads": 2}


def test_default_has_about_three_million_parameters():
    model, _ = SmallLlama().build()
    assert 2.9e6 < sum(p.numel() for p in model.parameters()) < 3.4e6


def test_the_seed_alone_decides_the_weights_and_the_global_state_is_left():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, _ = SmallLlama(**TINY, seed=1).build()
    assert torch.equal(torch.rand(3), expected)
    again, _ = SmallLlama(**TINY, seed=1).build()
    other, _ = SmallLlama(**TINY, seed=2).build()
    name = "lm_head.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


@given(st.text(alphabet=SmallLlama().alphabet))
def test_text_is_one_token_a_character_and_comes_back(text):
    tokenizer = character_tokenizer(SmallLlama().alphabet, 64)
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert (
        tokenizer.decode([*ids, tokenizer.eos_token_id, tokenizer.pad_token_id], skip_special_tokens=True)
        == text
    )


def test_a_character_outside_the_alphabet_is_an_error():
    with pytest.raises(Exception, match="UNK"):
        character_tokenizer("abc", 64)("abd")


def test_a_conversation_is_a_prefix_of_its_continuation():
    tokenizer = character_tokenizer(SmallLlama().alphabet, 64)
    turns = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    asked = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(turns)["input_ids"]
    assert whole[: len(asked)] == asked
    assert tokenizer.decode(whole[len(asked) :]) == "2<eos>"


def test_special_tokens_differ_and_config_agrees_with_the_tokenizer():
    model, tokenizer = SmallLlama(**TINY).build()
    ids = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert len(set(ids)) == 3
    config = model.generation_config
    assert ids == [config.pad_token_id, config.bos_token_id, config.eos_token_id]
    assert model.config.vocab_size == len(tokenizer)


def test_saved_folder_loads_with_the_usual_classes(tmp_path):
    model, tokenizer = SmallLlama(**TINY).build()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = AutoTokenizer.from_pretrained(tmp_path)("2 + 2 =", return_tensors="pt")["input_ids"]
    assert ids.tolist() == [tokenizer("2 + 2 =")["input_ids"]]
    with torch.no_grad():
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path).float()(ids).logits
        assert torch.equal(loaded, model.eval()(ids).logits)


def test_indivisible_width_names_the_three_nearest():
    with pytest.raises(ValidationError, match="multiple of 2 \\* heads = 8, got 250; nearest: 240, 248, 256"):
        SmallLlama(hidden_size=250)
    with pytest.raises(ValidationError, match="repeated characters: \\['a'\\]"):
        SmallLlama(alphabet="aba")


@given(st.integers(1, 500), st.integers(1, 60))
def test_nearest_multiples_are_the_nearest(value, step):
    every = sorted((step * k for k in range(1, 520)), key=lambda multiple: abs(multiple - value))
    assert {abs(m - value) for m in nearest_multiples(value, step)} == {abs(m - value) for m in every[:3]}
