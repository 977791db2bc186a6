"""Runs through a differentiable judge: trained, stopped and resumed to the bit; the same judge as a
reward."""

from oneloop.judge.preference import Preference
from oneloop.recipe.recipe import load_recipe
from oneloop.run.active_phase import needs_reference
from tests.support.editing import KNOWN, TRUTH, recipe
from tests.support.training import assert_equal, cut_while_judging, outcome, run_quietly


def train(directory, resume=False, raw=None):
    return run_quietly(load_recipe(raw or recipe(reference_decay=0.9))[0], directory, resume)


def test_it_learns_and_says_what_each_criterion_is_worth(whole_run):
    run = whole_run
    for line in run.history:
        assert line["grad_norm"] > 0 and 0 <= line["loss"] <= 0.9
        assert (
            "hacking_gap" in line
            and "frac_reward_zero_std" not in line
            and 0 <= line["hinge/closed_ratio"] <= 1
        )
        assert "sampling/logprob_gap_max" not in line
    names = {name for line in run.history for name in line if name.startswith("win_rate/")}
    assert {"win_rate/preference/fill/text_alignment", "win_rate/truth/remove/removal_quality"} <= names
    assert needs_reference(load_recipe(recipe())[0].phases["train"])


def test_stopped_and_resumed_it_draws_the_same_tasks_and_is_the_same_to_the_bit(whole, tmp_path):
    resumed = cut_while_judging(train, tmp_path / "run", Preference, step=3)
    assert_equal(resumed, outcome(whole))


def test_the_probability_is_a_reward_for_groups_too(tmp_path):
    raw = recipe(noise="dance", steps=2)
    raw["phases"]["train"] |= {
        "judge": [KNOWN, {"preference": {**TRUTH["preference"], "weight": 0}}],
        "credit": ["group_relative"],
        "objective": [{"policy_gradient": {"clip_low": 0.01, "clip_high": 0.01}}],
        "plan": {**raw["phases"]["train"]["plan"], "groups": 2, "count": {"uniform": {"n": 4}}, "dress": []},
        "steps": 2,
    }
    run = train(tmp_path / "run", raw=raw)
    assert all(line["grad_norm"] > 0 and "hacking_gap" in line for line in run.history)
