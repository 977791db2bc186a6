"""Precisions, adapters, references, folders: what is trained, what is kept, what comes back."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from oneloop.core import storage
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.lora import Lora
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.kl import Kl
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised
from tests.sample.policies.conftest import agree, asked, everything
from tests.support.rounding import room

ROWS = [{"prompt": a + b, "completion": b + a} for a in "abc" for b in "xyz"]
LORA = Lora(rank=4, alpha=8.0)


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.model.state_dict().items()}


def changed(one: dict, other: dict) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


def supervised(policy, steps: int, **options) -> list[float]:
    learner = Learner(policy, [Supervised()], Learning(**{"learning_rate": 0.01, **options}), steps)
    rows, _ = policy.demonstrate(asked(ROWS, n=1))
    losses = []
    for _ in range(steps):
        learner(rows)
        losses.append(learner.metrics["loss"])
    return losses


@pytest.mark.parametrize("precision", ["float32", "bf16_autocast", "bf16"])
@pytest.mark.parametrize("lora", [None, LORA])
def test_every_precision_learns(opened, precision, lora):
    policy = opened("llama", precision=precision, lora=lora)
    dtypes = {weight.dtype for weight in policy.model.parameters() if weight.requires_grad}
    losses = supervised(policy, 15, learning_rate=0.02)
    assert losses[-1] < 0.7 * losses[0]
    assert policy.version == 15
    if lora is None:
        assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
    finished, _ = policy.sample(asked(n=2))
    with torch.no_grad():
        logprob = policy.at(finished, torch.arange(len(finished.actions))).logprob
    if precision == "float32":
        agree(policy, finished, finished.actions.logprob, logprob)
    else:
        assert (logprob - finished.actions.logprob).abs().max() < 0.2


def test_a_bf16_copy_for_sampling_follows_the_weights(opened):
    policy = opened("llama", sampling_precision="bf16")
    supervised(policy, 5)
    finished, _ = policy.sample(asked(n=2))
    with torch.no_grad():
        gap = policy.at(finished, torch.arange(len(finished.actions))).logprob - finished.actions.logprob
    assert 0 < gap.abs().max() < 0.2
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}


def test_lora_trains_adapters_only_and_the_reference_is_the_policy_as_it_was(opened):
    plain, policy = opened("qwen2"), opened("qwen2", lora=LORA)
    before = weights(policy)
    assert sum(w.numel() for w in policy.model.parameters() if w.requires_grad) < 0.3 * sum(
        w.numel() for w in plain.model.parameters()
    )
    finished, _ = policy.sample(asked())
    assert torch.equal(finished.actions.token, plain.sample(asked())[0].actions.token), (
        "adapters begin at zero"
    )
    supervised(policy, 4)
    after = weights(policy)
    assert changed(before, after) and all("lora" in name for name in changed(before, after))
    policy.keep_reference()
    found = policy.annotate(finished, ["reference", "proximal"]).actions
    assert torch.equal(found.reference, found.proximal)
    assert (found.reference - finished.actions.logprob).abs().max() > 1e-3
    supervised(policy, 2)
    later = policy.annotate(finished, ["reference", "proximal"]).actions
    assert torch.equal(later.reference, found.reference)
    assert (later.proximal - later.reference).abs().max() > 1e-3
    fresh, _ = policy.sample(asked(seed=9))
    with torch.no_grad():
        at = policy.at(fresh, torch.arange(len(fresh.actions)))
    agree(policy, fresh, fresh.actions.logprob, at.logprob)  # the engine samples with adapters


def test_adapters_begin_alike_whatever_else_drew_random_numbers(opened):
    state = torch.get_rng_state()
    one = weights(opened(lora=LORA))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert not changed(one, weights(opened(lora=LORA)))


CASES = [
    ("llama", {}),
    ("gpt2", {}),
    ("gemma3_text", {}),
    ("llama", {"precision": "bf16"}),
    ("qwen3", {"lora": LORA}),
    ("gemma3_text", {"lora": LORA}),  # one matrix is both ends, and frozen
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_saved_and_restored_it_goes_on_to_the_bit(opened, tmp_path, name, options):
    policy = opened(name, **options)
    policy.keep_reference()
    supervised(policy, 2)
    learner = Learner(policy, [PolicyGradient(), Kl(coefficient=0.1)], Learning(learning_rate=0.01), 5)

    def step(policy, learner, seed):
        finished, _ = policy.sample(asked(n=2, seed=seed))
        learner(finished.put_actions(advantage=torch.linspace(-1, 1, len(finished.actions))))

    step(policy, learner, 1)
    policy.save(tmp_path / "model")
    (tmp_path / "state").mkdir()
    storage.write_state(tmp_path / "state", {"policy": policy.state_dict(), "learner": learner.state_dict()})

    again = opened(name, **options)
    state = storage.read_state(tmp_path / "state")
    again.restore(tmp_path / "model", state["policy"])
    learner_again = Learner(again, [PolicyGradient(), Kl(coefficient=0.1)], Learning(learning_rate=0.01), 5)
    learner_again.load_state_dict(state["learner"])
    assert again.version == policy.version == 3
    assert not changed(weights(policy), weights(again))
    for seed in (2, 3):
        step(policy, learner, seed)
        step(again, learner_again, seed)
        assert learner.metrics == learner_again.metrics
    assert not changed(weights(policy), weights(again))


def test_what_is_saved_loads_with_transformers_and_as_a_model_of_ours(opened, tmp_path):
    policy = opened("gemma2")
    supervised(policy, 2)
    policy.save(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert not changed(weights(policy), dict(theirs.state_dict()))
    ours = Language(model=str(tmp_path), max_new_tokens=12).open()
    assert ours.sample(asked())[0].text == policy.sample(asked())[0].text


def test_settings_of_generation_that_contradict_one_another_stop_no_checkpoint(opened, tmp_path):
    opened("llama").save(tmp_path / "theirs")
    settings = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}
    (tmp_path / "theirs" / "generation_config.json").write_text(json.dumps(settings))
    policy = Language(model=str(tmp_path / "theirs"), max_new_tokens=4).open()
    policy.save(tmp_path / "ours")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert not changed(weights(policy), dict(again.state_dict()))


def test_saved_adapters_load_as_a_model(opened, tmp_path):
    policy = opened("llama", lora=LORA)
    supervised(policy, 3)
    policy.save(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["adapter_model.safetensors"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[7, 8, 9]])
    with torch.no_grad():
        gap = room(lambda move: move(copy.deepcopy(loaded))(ids).logits)
        torch.testing.assert_close(loaded(ids).logits, policy.model(ids).logits, rtol=0, atol=gap)


def test_annotate_under_lora_leaves_adapters_on(opened):
    policy = opened(lora=LORA)
    supervised(policy, 2)
    finished, _ = policy.sample(asked())
    policy.version += 1  # nothing is taken from the sampler
    first = policy.annotate(finished, ["proximal"]).actions.proximal
    policy.keep_reference()
    policy.annotate(finished, ["reference"])
    assert torch.equal(first, policy.annotate(finished, ["proximal"]).actions.proximal)
    assert all(piece.numel() for piece in policy.batches(finished, everything(finished), 30))


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot load '.*nothing'"):
        Language(model=str(tmp_path / "nothing")).open()
