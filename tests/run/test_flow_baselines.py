"""The baselines of docs/images.md: they set what their papers say, and they train."""

import pytest
import torch

from oneloop.recipe import text as recipe_text
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from tests.recipe.test_shipped import BRIGHTNESS
from tests.support.training import gap_room
from tests.test_docs import ROOT, blocks

BLOCKS = {
    b.text.splitlines()[0][2:]: b.text for b in blocks(ROOT / "docs" / "images.md") if b.text[:2] == "# "
}
SMALL = ["policy.flow.model={flow_mlp: {image_size: 8, channels: 3, hidden_size: 16}}"]
SMALL += ["plan.groups=2", "plan.data={shapes: {image_size: 8}}", "policy.flow.device=cpu"]
SMALL += [f"judge=['{BRIGHTNESS}']"]  # `scene` finds nothing in what no training has painted


def recipe(name, *overrides):
    return load_recipe(recipe_text.parse(BLOCKS[name]), [*SMALL, *overrides])[0]


def sampled(name, step=0):
    made = recipe(name)
    policy, plan = made.policy.open(), next(iter(made.phases.values())).plan
    plan.begin(seed=0, steps=100)
    return policy, policy.sample(plan.ask().put_facts(step=step))[0]


def test_all_of_them_are_there():
    assert set(BLOCKS) == {"Flow-GRPO", "DanceGRPO", "MixGRPO", "BranchGRPO-Mix"}


@pytest.mark.parametrize("name", BLOCKS)
def test_they_train(name, tmp_path):
    run = Run(recipe(name, "steps=2"), tmp_path / "run", show=Show(quiet=True))
    run.train()
    assert len(run.history) == 2 and all(line["grad_norm"] > 0 for line in run.history)
    (phase,) = run.recipe.phases
    assert max(line["sampling/logprob_gap_max"] for line in run.history) <= gap_room(run, phase)
    assert ("kl" in run.history[-1]) == (name == "Flow-GRPO")


def test_flow_grpo_gives_every_image_its_own_start():
    _, rollouts = sampled("Flow-GRPO")
    assert len(rollouts.start.flatten(1).unique(dim=0)) == len(rollouts) == 48
    assert len(rollouts.actions) == 48 * 9


def test_dance_grpo_has_one_start_a_prompt_and_nothing_else_in_common():
    policy, rollouts = sampled("DanceGRPO")
    assert len(rollouts.start.flatten(1).unique(dim=0)) == 2 and len(rollouts) == 24
    assert len(rollouts.actions) == 24 * 15 and policy.meter.total == 2 * (1 + 12 * 15)


def test_mix_grpo_draws_a_window_that_moves():
    for step, begin in ((0, 0), (25, 1), (20 * 25, 20), (21 * 25, 0)):
        made = next(iter(recipe("MixGRPO").phases.values())).plan.dress[0]
        assert made.begin(step) == begin
    _, rollouts = sampled("MixGRPO")
    assert rollouts.depth[rollouts.actions.share > 0].unique().tolist() == [0, 1, 2, 3]


def test_the_mixture_draws_its_forks_and_its_window():
    _, rollouts = sampled("BranchGRPO-Mix")
    drawn = rollouts.depth[rollouts.actions.share > 0].unique().tolist()
    assert drawn == [0, 3, 6, 9, 12, 13, 14, 15]
    assert int((rollouts.actions.share > 0).sum()) == 2 * (2 + 4 + 8 + 16 + 4 * 16)
    assert torch.equal(rollouts.actions.logprob != 0, rollouts.actions.share > 0)
