"""A second model with adapters inside its weights: the same logits, the tersest forward, up to date."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.engines.tiny_models import tiny
from tests.support.rounding import Exact

from oneloop.engines.law import Law
from oneloop.engines.llama_forward import LlamaForward
from oneloop.engines.merged import SecondModel
from oneloop.engines.request import Request
from oneloop.engines.slots import SlotEngine
from oneloop.engines.twin import Modules

IDS = torch.arange(1, 9)[None]
# In float64, because adding an adapter to a weight rounds otherwise than two products: eps is 2e-16, and
# logits of up to 10 are sums of some thousand products in a few layers.
ROUNDING = 1e-11


def adapted(name: str, **options):
    torch.manual_seed(0)
    config = LoraConfig(**{"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **options})
    return get_peft_model(tiny(name), config).eval()


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "gemma2"])
def test_it_has_the_logits_of_the_first_and_follows_it(name):
    first = adapted(name).double()
    second = SecondModel(first.get_base_model(), None)
    assert not any("lora" in part for part, _ in second.model.named_modules())
    torch.testing.assert_close(logits(second.model), logits(first), rtol=0, atol=ROUNDING)
    with torch.no_grad():
        for weight in first.parameters():
            weight.mul_(1.5)
    assert (logits(second.model) - logits(first)).abs().max() > 1e-3
    second.refresh()
    torch.testing.assert_close(logits(second.model), logits(first), rtol=0, atol=ROUNDING)


def test_only_what_adapters_change_is_held_twice():
    first = adapted("llama", target_modules=["q_proj", "v_proj"])
    second = SecondModel(first.get_base_model(), None)
    theirs = {weight.data_ptr() for weight in first.parameters()}
    own = [name for name, weight in second.model.named_parameters() if weight.data_ptr() not in theirs]
    assert own and all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in own)
    assert sum(weight.numel() for weight in second.own) == sum(
        second.model.get_parameter(name).numel() for name in own
    )


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True, "target_modules": ["c_attn"]}])
def test_other_adapters_stay_beside_their_weights(options):
    first = adapted("gpt2" if "lora_bias" in options else "llama", **options)
    second = SecondModel(first.get_base_model(), None)
    assert not second.own
    torch.testing.assert_close(logits(second.model), logits(first), rtol=0, atol=0)


def test_adapters_beside_bf16_weights_stay_there_unless_copies_are_asked_for():
    first = adapted("llama").to(torch.bfloat16)
    assert not SecondModel(first.get_base_model(), None).own
    copied = SecondModel(first.get_base_model(), torch.bfloat16)
    assert {weight.dtype for weight in copied.own} == {torch.bfloat16}


def test_an_engine_samples_adapters_by_the_terse_forward_and_notices_their_updates():
    first = adapted("llama")
    engine = SlotEngine(first, eos=[2], law=Law(temperature=1.0))
    assert isinstance(engine.forward, LlamaForward)
    assert isinstance(SlotEngine(adapted("gpt2"), eos=[2]).forward, Modules)
    request = Request(7, 0, (3, 4, 5), 12)
    for _ in range(2):
        (reply,) = engine.generate([request])
        Exact(first).agrees(request.prompt, reply.tokens, reply.logprobs)
        with torch.no_grad():  # whoever changes the weights: nobody says so
            for name, weight in first.named_parameters():
                if "lora_B" in name:
                    weight.add_(0.3)
