"""What is said of a flow policy's memory is what it takes, to the byte: weights, moments, latents."""

import pytest
import torch

from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.recipe.recipe import load_recipe
from oneloop.run.memory.estimate import estimate
from oneloop.update.learner import Learner
from tests.run.memory.test_estimate import bytes_of
from tests.run.test_flow_run import raw

FORK = {"fork": {"steps": [0, 2]}}


def recipe_with(dress=(), **policy):
    source = raw()
    source["phases"]["branch"]["plan"]["dress"] = list(dress)
    source["phases"]["branch"] |= {"credit": ["group_relative"], "select": []}
    source["policy"]["flow"] |= {"device": "cpu", **policy}
    return load_recipe(source)[0]


def said(recipe):
    return {row.what: row.bytes for row in estimate(recipe).rows}


@pytest.mark.parametrize("dress", [(), (FORK,)], ids=["chains", "trees"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_what_a_batch_leaves_behind_is_exact(dress, stored):
    recipe = recipe_with(dress, stored=stored)
    phase, policy, rows = recipe.phases["branch"], recipe.policy.open(), said(recipe)
    phase.plan.begin(seed=0, steps=1)
    finished, _ = policy.sample(phase.plan.ask())
    assert rows["latents"] == bytes_of([finished.actions.latent])
    assert rows["start noise"] == bytes_of([finished.start])
    assert rows["images"] == bytes_of([finished.output])
    counted = next(row.how for row in estimate(recipe).rows if row.what == "latents")
    assert f"{len(finished.actions):,} actions" in counted and f"{policy.meter.total:,} calls" in counted


def test_what_is_held_is_exact():
    recipe = recipe_with()
    policy, rows, phase = recipe.policy.open(), said(recipe), recipe.phases["branch"]
    learner = Learner(policy, phase.objective, phase.learner, 1)
    for weight in learner.parameters:
        weight.grad = torch.ones_like(weight)
    learner.optimizer.step()
    moments = [s[name] for s in learner.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    weights = bytes_of(policy.model.parameters())
    assert (rows["weights"], rows["gradients"], rows["optimiser"]) == (weights, weights, bytes_of(moments))
    assert rows["reference"] == weights  # the KL reads it


def test_micro_batches_bound_activations_and_too_much_names_what_to_lower(monkeypatch):
    small, large = (
        said(load_recipe(raw(), [f"phases.branch.learner.tokens_per_micro_batch={n}"])[0]) for n in (8, 16)
    )
    assert large["activations"] == 2 * small["activations"]
    monkeypatch.setattr("oneloop.run.memory.estimate.free_memory", lambda device: 1024)
    assert "NOT ENOUGH. Lower learner.tokens_per_micro_batch, policy.flow" in estimate(recipe_with()).sentence


def test_the_outline_of_a_transformer_is_the_transformer():
    options = {
        "flow_transformer": {"image_size": 8, "channels": 1, "patch": 4, "hidden_size": 32, "layers": 2}
    }
    rows = said(recipe_with(model=options))
    network = FlowTransformer(**options["flow_transformer"]).build()
    assert rows["weights"] == bytes_of(network.parameters())


@pytest.mark.slow
def test_a_pipeline_is_looked_into_without_its_weights(tmp_path):
    pytest.importorskip("diffusers")
    from tests.models.flow.tiny_pipelines import flux

    model = {
        "name": str(flux(tmp_path / "tiny")),
        "image_size": 16,
        "dtype": "float32",
        "rank": 2,
        "words": 8,
    }
    recipe = recipe_with(model={"diffusion_pipeline": model})
    network = recipe.policy.model.build()
    for weights in (tmp_path / "tiny").rglob("*.safetensors"):
        weights.unlink()
    rows = said(recipe)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    assert rows["weights"] == bytes_of(network.parameters())
    assert rows["gradients"] == bytes_of(trained) and "reference" not in rows and rows["decoding"] > 0
    gone = recipe_with(model={"diffusion_pipeline": {**model, "name": str(tmp_path / "none")}})
    with pytest.raises(ValueError, match="diffusion_pipeline.name: cannot find"):
        gone.policy.outline()


def test_the_outline_looks_at_pictures_that_are_to_be_learned():
    outline = recipe_with().policy.outline()
    outline.check_row({"prompt": "a"}, "row 3", False)
    with pytest.raises(ValueError, match="row 3 has no 'image' to learn from; its columns: prompt"):
        outline.check_row({"prompt": "a"}, "row 3", True)
