"""llama_forward.py: the terse forward is used where it applies and gives what the modules give."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_slots import agree_with_full_forwards, ragged, scored
from tests.support.rounding import Exact
from tiny_models import ARCHITECTURES, tiny

from oneloop.engines import llama_forward
from oneloop.engines.law import Law
from oneloop.engines.llama_forward import LlamaForward, packs
from oneloop.engines.slots import SlotEngine

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


@pytest.mark.parametrize("few", [0, llama_forward.FEW], ids=["many", "few"])
@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["shared", "owned"])
@pytest.mark.parametrize("name", FAMILY)
def test_log_probs_equal_a_full_forward_before_and_after_an_update(monkeypatch, name, dtype, few):
    monkeypatch.setattr(llama_forward, "FEW", few)
    model, requests = tiny(name), ragged(4, copies=2)
    engine = SlotEngine(model, eos=(), dtype=dtype)
    assert isinstance(engine.forward, LlamaForward)
    for _ in range(2):
        agree_with_full_forwards(model, Law(), requests, engine.generate(requests))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        engine.refresh()


@pytest.mark.parametrize("few", [0, llama_forward.FEW], ids=["many", "few"])
@pytest.mark.parametrize("name", FAMILY)
def test_biases_count(monkeypatch, name, few):
    monkeypatch.setattr(llama_forward, "FEW", few)
    model = tiny(name, attention_bias=True, mlp_bias=True) if name == "llama" else tiny(name)
    with torch.no_grad():
        for label, parameter in model.named_parameters():
            if label.endswith("bias"):
                parameter.normal_()
    requests = ragged(2)
    engine = SlotEngine(model, eos=(), dtype=torch.float32)
    assert isinstance(engine.forward, LlamaForward)
    agree_with_full_forwards(model, Law(), requests, engine.generate(requests))


@pytest.mark.parametrize("few", [0, llama_forward.FEW], ids=["many", "few"])
@pytest.mark.parametrize("name", FAMILY)
def test_beside_autocast_products_are_bf16_where_the_cpu_multiplies_it(monkeypatch, name, few):
    monkeypatch.setattr(llama_forward, "FEW", few)
    model, requests = tiny(name), ragged(4, copies=2)
    engine = SlotEngine(model, eos=(), autocast=True)
    if not packs(torch.device("cpu"), torch.bfloat16):
        agree_with_full_forwards(model, Law(), requests, engine.generate(requests))
        return
    assert isinstance(engine.forward, LlamaForward)
    assert engine.model.dtype == torch.float32 and engine.forward.head.layout.dtype == torch.bfloat16
    for _ in range(2):
        replies = engine.generate(requests)
        gaps = [
            np.abs(reply.logprobs - np.array(exact))
            for reply, (exact, _) in zip(replies, Exact(model).each(scored(requests, replies)), strict=True)
        ]
        assert 0 < np.concatenate(gaps).mean() < 0.05
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        engine.refresh()


def test_tokens_that_no_text_holds_do_not_count_when_a_model_is_tried():
    model = tiny("llama", vocab_size=1200)
    # SmolLM2's first tokens are markers: one after another they give any number in bf16
    with torch.no_grad():
        model.get_input_embeddings().weight[1:100] = float("nan")
    assert isinstance(SlotEngine(model, eos=()).forward, LlamaForward)


def test_the_weights_of_the_trainer_are_never_laid_out_anew():
    model = tiny("llama")
    before = [parameter.data_ptr() for parameter in model.parameters()]
    SlotEngine(model, eos=())
    SlotEngine(model, eos=(), dtype=torch.float32)
    assert [parameter.data_ptr() for parameter in model.parameters()] == before


def test_other_models_adapters_and_changed_modules_take_their_own_forward():
    for name in set(ARCHITECTURES) - set(FAMILY):
        assert not isinstance(SlotEngine(tiny(name), eos=()).forward, LlamaForward)
    plain = get_peft_model(tiny("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    assert isinstance(SlotEngine(plain, eos=()).forward, LlamaForward), (
        "adapters inside a copy of the weights"
    )
    other = get_peft_model(tiny("llama"), LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    assert not isinstance(SlotEngine(other, eos=()).forward, LlamaForward)
    changed = tiny("llama")
    changed.model.norm = torch.nn.LayerNorm(32, elementwise_affine=True)
    assert not isinstance(SlotEngine(changed, eos=()).forward, LlamaForward)
