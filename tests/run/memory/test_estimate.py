"""estimate.py: the bytes said are the bytes measured."""

import io

import pytest
import torch
from rich.console import Console

from oneloop.core import memory
from oneloop.core.memory import free_memory, size
from oneloop.engines.llama_forward import JoinedLinears, LlamaForward
from oneloop.recipe.recipe import load_recipe
from oneloop.run.memory import estimate as estimates
from oneloop.run.memory.estimate import estimate
from oneloop.update.learner import Learner
from tests.recipe.test_recipe import changed

TINY = {"small_llama": {"hidden_size": 32, "layers": 2, "heads": 2}}


def recipe_with(**language):
    return load_recipe(changed(policy={"language": {"model": TINY, "max_new_tokens": 8, **language}}))[0]


def rows_of(recipe):
    return {row.what: row.bytes for row in estimate(recipe).rows}


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize(
    "language",
    [
        {},
        {"precision": "bf16"},
        {"precision": "bf16_autocast"},
        {"sampling_precision": "bf16"},
        {"lora": {"rank": 2}},
        {"lora": {}, "precision": "bf16"},
        {"lora": {"rank": 2}, "sampling_precision": "bf16"},
    ],
)
def test_what_is_held_is_exact_to_the_byte(language):
    recipe = recipe_with(device="cpu", **language)
    phase, said = recipe.phases["train"], rows_of(recipe)
    policy = recipe.policy.open()
    learner = Learner(policy, phase.objective, phase.learner, 1)
    for weight in learner.parameters:
        weight.grad = torch.ones_like(weight)
    gradients = learner.stepper.gradients()
    own = [weight.grad for weight in learner.parameters] if learner.master is not learner.parameters else []
    learner.optimizer.step()
    moments = [
        state[name] for state in learner.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
    ]
    assert said["weights"] == bytes_of(policy.model.parameters())
    assert said["gradients"] == bytes_of([*gradients, *own])
    assert said["optimiser"] == bytes_of(moments)
    assert said.get("master weights", 0) == (bytes_of(learner.master) if own else 0)
    assert said.get("engine copy", 0) == bytes_of(policy.engine._second.own) + laid_out(policy.engine)


def laid_out(engine):
    """Bytes of the weights that the engine keeps in another layout."""
    if not isinstance(engine.forward, LlamaForward):
        return 0
    products = [
        product for layer in engine.forward.layers for product in layer if isinstance(product, JoinedLinears)
    ]
    modules = [
        module for product in [*products, engine.forward.head] if product.packed for module in product.modules
    ]
    weights = [weight for module in modules for weight in module.parameters()]
    return sum(weight.numel() for weight in weights) * engine.forward.head.dtype.itemsize


def test_keys_and_values_of_a_token_are_what_the_model_makes():
    rows = {"rows": {"rows": [{"prompt": f"1 + {digit} =", "answer": ""} for digit in range(8)]}}
    language = {"model": TINY, "max_new_tokens": 40, "device": "cpu", "slots": 5}
    recipe, _ = load_recipe(changed(policy={"language": language}, plan={"data": rows}))
    model, _ = recipe.policy.model.build()
    layers = model(torch.zeros(1, 3, dtype=torch.long), use_cache=True).past_key_values.layers
    one = bytes_of([kept for layer in layers for kept in (layer.keys, layer.values)]) // 3
    said = {row.what: row for row in estimate(recipe).rows}["KV cache"]
    assert said.bytes == 5 * 48 * one and said.how == "5 slots x 48 tokens (7 prompt)"


def test_a_reference_is_counted_only_where_an_objective_reads_it():
    recipe = changed(policy={"language": {"model": TINY}})
    assert "reference" not in rows_of(load_recipe(recipe)[0])
    with_kl = rows_of(load_recipe(recipe, ["beta=0.1"])[0])
    assert with_kl["reference"] == with_kl["weights"]
    adapted = rows_of(load_recipe(recipe, ["beta=0.1", "policy.language.lora={}"])[0])
    assert adapted["reference"] == adapted["gradients"] < adapted["weights"]


def test_a_saved_model_is_looked_into_without_its_weights(tmp_path, monkeypatch):
    recipe = recipe_with()
    recipe.policy.open().save(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    saved = recipe_with(model=str(tmp_path / "model"))
    assert rows_of(saved) == rows_of(recipe)


def test_a_model_that_is_not_there_is_said(tmp_path):
    recipe = recipe_with(model=str(tmp_path / "none"))
    assert estimate(recipe) is None
    with pytest.raises(
        ValueError, match="policy.language.model: cannot load .*none': there is no such folder"
    ):
        recipe.policy.outline()


def test_micro_batches_bound_what_a_step_takes():
    small, large = (
        rows_of(
            load_recipe(
                changed(policy={"language": {"model": TINY}}), [f"learner.tokens_per_micro_batch={n}"]
            )[0]
        )
        for n in (64, 128)
    )
    assert large["activations"] == 2 * small["activations"] and large["logits"] == 2 * small["logits"]


def test_too_much_is_said(monkeypatch):
    monkeypatch.setattr(estimates, "free_memory", lambda device: 1024)
    found = estimate(recipe_with())
    assert "NOT ENOUGH" in found.sentence and "1 KiB are free" in found.sentence
    monkeypatch.setattr(estimates, "free_memory", lambda device: 2**40)
    assert "NOT ENOUGH" not in estimate(recipe_with()).sentence


def test_the_table_adds_up():
    found = estimate(recipe_with())
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(found.table())
    text = console.export_text()
    assert found.total == sum(row.bytes for row in found.rows)
    assert all(row.what in text for row in found.rows) and size(found.total) in text


def test_free_memory_minds_a_containers_limit(tmp_path, monkeypatch):
    assert free_memory("cpu") > 2**20
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "used").write_text("2000\n")
    monkeypatch.setattr(memory, "LIMIT", tmp_path / "max")
    monkeypatch.setattr(memory, "USED", tmp_path / "used")
    assert free_memory("cpu") == 3000
    (tmp_path / "max").write_text("max\n")
    assert free_memory("cpu") > 2**20


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 KiB"), (1536, "2 KiB"), (3 << 20, "3.0 MiB"), (5 << 29, "2.5 GiB")]
)
def test_sizes_are_readable(count, text):
    assert size(count) == text
