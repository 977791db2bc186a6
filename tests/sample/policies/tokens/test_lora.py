"""Adapters as models: gone on with, added to the weights, left behind as something that loads again."""

import copy
import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.loading import ADAPTERS
from oneloop.sample.policies.tokens.lora import Lora
from tests.support.rounding import room

LORA = Lora(rank=4, alpha=8)
SMALL = SmallLlama(hidden_size=16, layers=1, heads=2)
IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def close(model, expected: torch.Tensor) -> None:
    """Raises AssertionError unless `model` has the `expected` logits up to rounding."""
    gap = room(lambda move: logits(move(copy.deepcopy(model))))
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=gap)


def moved(policy) -> torch.Tensor:
    """Logits after adapters got weights that matter."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    policy.updated()
    return logits(policy.model)


@pytest.fixture(params=["llama", "gpt2", "gemma2"])
def tuned(request, opened, tmp_path):
    """(folder of adapters, logits of the model with them, logits of the model below)."""
    policy = opened(request.param, lora=LORA)
    before = logits(policy.model)
    after = moved(policy)
    policy.save(tmp_path / "tuned")
    assert (after - before).abs().max() > 0.01
    return tmp_path / "tuned", after, before


def test_training_goes_on_from_the_weights_a_folder_of_adapters_stands_for(tuned, tmp_path):
    folder, after, _ = tuned
    same = Language(model=str(folder), lora=LORA).open()
    torch.testing.assert_close(logits(same.model), after, rtol=0, atol=0)
    assert {name for name, w in same.model.named_parameters() if w.requires_grad} == {
        name for name, _ in same.model.named_parameters() if "lora_" in name
    }
    for other in (Lora(rank=2, alpha=8), Lora(rank=4, alpha=8, targets=("c_attn", "q_proj"))):
        above = Language(model=str(folder), lora=other).open()
        close(above.model, after)
        above_moved = moved(above)
        above.save(tmp_path / "above")
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "above")
        close(theirs, above_moved)


def test_without_lora_all_weights_are_trained_adapters_added(tuned):
    folder, after, _ = tuned
    policy = Language(model=str(folder)).open()
    close(policy.model, after)
    assert all(weight.requires_grad for weight in policy.model.parameters())
    assert not any("lora" in name for name, _ in policy.model.named_parameters())


def test_adapters_load_with_the_libraries_of_others(tuned):
    folder, after, _ = tuned
    for theirs in (AutoModelForCausalLM, AutoPeftModelForCausalLM):
        model = theirs.from_pretrained(folder).eval()
        close(model, after)


def test_adapters_on_a_model_that_is_nowhere_else_are_saved_within_it(tmp_path):
    policy = Language(model=SMALL, lora=LORA).open()
    after = moved(policy)
    policy.save(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ours = Language(model=str(tmp_path)).open()
    for model in (theirs, ours.model):
        close(model, after)
    again = Language(model=SMALL, lora=LORA).open()
    again.restore(tmp_path, policy.state_dict())
    assert torch.equal(logits(again.model), after)
    assert json.loads((tmp_path / ADAPTERS / "adapter_config.json").read_text())["r"] == 4


def test_adapters_that_cannot_be_taken_are_named(tuned, tmp_path):
    folder, _, _ = tuned
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ValueError, match="tuned' do not say which model they belong to"):
        Language(model=str(folder)).open()
    for base, said in (
        (str(folder), "say that they belong to themselves"),
        (
            "/gone/base",
            "tuned' belong to '/gone/base', and there is no such folder; write where it is into adapter",
        ),
    ):
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(ValueError, match=said):
            Language(model=str(folder)).outline()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(
        ValueError, match="policy.language.model: the adapters in '.*tuned' have no weights: adapter_model"
    ):
        Language(model=str(folder)).open()
    with pytest.raises(ValueError, match="policy.language.lora.targets: .*nothing"):
        Language(model=SMALL, lora=Lora(targets=("nothing",))).open()
