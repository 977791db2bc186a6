"""Architectures that take something of their own: what is sampled is learned, or refused in words."""

import copy

import pytest
import torch

from oneloop.engines.slots import SlotEngine
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.forward import CausalForward
from tests.engines.tiny_models import BROAD, BROADLY_REFUSED, FURTHER, REFUSED, smallest, tiny
from tests.sample.policies.conftest import ALPHABET, agree, asked, character_tokenizer

SCALES = {"granite": 0.25, "granitemoe": 0.25, "cohere": 0.25, "cohere2": 0.25, "minicpm3": 0.25}


def saved(name, folder, make=tiny) -> str:
    make(name).save_pretrained(folder)
    character_tokenizer(ALPHABET, 128).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", FURTHER)
def test_what_is_sampled_is_what_is_learned(name, tmp_path):
    policy = Language(model=saved(name, tmp_path), max_new_tokens=12).open()
    assert policy.forward.scale == pytest.approx(SCALES.get(name, 1.0), rel=1e-6)
    finished, _ = policy.sample(asked(n=2))
    with torch.no_grad():
        found = policy.at(finished, torch.arange(len(finished.actions))).logprob
    agree(policy, finished, finished.actions.logprob, found)


def test_many_architectures_are_covered():
    assert len(BROAD) > 45


@pytest.mark.parametrize("name", BROAD)
def test_the_smallest_model_of_an_architecture_samples_what_it_learns(name, tmp_path):
    policy = Language(model=saved(name, tmp_path, smallest), max_new_tokens=8).open()
    finished, _ = policy.sample(asked(n=2))
    with torch.no_grad():
        found = policy.at(finished, torch.arange(len(finished.actions))).logprob
    agree(policy, finished, finished.actions.logprob, found)


@pytest.mark.parametrize("name", BROADLY_REFUSED)
def test_other_architectures_are_refused_in_a_sentence(name, tmp_path):
    with pytest.raises(ValueError, match=f"^policy.language.model: .*{BROADLY_REFUSED[name][1]}"):
        Language(model=saved(name, tmp_path, smallest)).open()


def test_a_factor_is_found_in_the_precision_of_the_weights():
    assert CausalForward(tiny("granite").eval(), autocast=True).scale == pytest.approx(0.25, rel=1e-6)
    assert CausalForward(tiny("granite").eval().bfloat16(), autocast=False).scale == pytest.approx(
        0.25, rel=1e-3
    )


def test_a_layer_that_goes_its_own_way_keeps_padded_rows():
    assert CausalForward(tiny("llama").eval(), autocast=True).flattens
    model = tiny("llama").eval()
    model.model.layers[1].self_attn.config = copy.copy(model.config)
    for weight in model.parameters():
        weight.data.mul_(0.01)  # its logits are as good as none, and would not tell
    assert not CausalForward(model, autocast=True).flattens


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_in_a_sentence(name, tmp_path):
    with pytest.raises(ValueError, match=f"^policy.language.model: .*{REFUSED[name][1]}"):
        Language(model=saved(name, tmp_path)).open()


def test_logits_that_become_infinite_stop_the_sampling_in_words():
    model = tiny("llama").eval()
    engine = SlotEngine(model, eos=())
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e30)
    from oneloop.engines.request import Request

    with pytest.raises(ValueError, match="logits are not finite numbers: its weights have overflowed"):
        engine.generate([Request(1, 0, (3, 4), 5)])
