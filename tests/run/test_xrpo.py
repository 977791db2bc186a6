"""XRPO's three parts in one run: phases, flags and the store, killed in the middle and resumed to the bit."""

import pytest
import torch

from oneloop.recipe.recipe import load_recipe
from oneloop.run.metrics import batch_metrics
from tests.support.toy import chains
from tests.support.training import assert_equal, cut_and_resumed, outcome, raw_recipe, recorded, run_quietly


def train(directory, resume=False):
    """Warm start, then XRPO with rollouts in flight and refused groups."""
    raw = raw_recipe(evaluate=None)
    phase = raw["phases"]["reinforce"]
    count = {"allocate": {"base": 2, "mean_budget": 4, "min_per_prompt": 3}}
    seeding = {
        "seed_contexts": {"template": "{question}{solution}=", "train_on": "original", "max_tokens": 20}
    }
    phase["plan"] |= {"count": count, "dress": [seeding]}
    phase["credit"] = ["group_relative", "novelty"]
    phase["objective"] = [{"policy_gradient": {"old": "proximal"}}]
    phase["steps"] = 5
    return run_quietly(load_recipe(raw)[0], directory, resume)


def test_killed_and_resumed_it_is_the_same_run(whole, tmp_path):
    assert_equal(outcome(whole), cut_and_resumed(train, tmp_path / "cut", step=8))


def test_flags_reach_the_files(whole):
    rows = recorded(whole, "reinforce")
    assert {row["round"] for row in rows} == {0, 1, 2}
    assert all(row["seeded"] == 0 for row in rows if row["round"] == 0)
    assert any(row["seeded"] for row in rows)
    trained = [row for row in rows if row["trained"]]
    assert trained and all(row["novelty"] > 0 for row in trained)
    # trained on the question alone
    assert all(row["prompt"].count("=") == 1 for row in rows)


def test_a_seeded_success_is_no_zero_shot_success():
    made = chains([1] * 8, group_size=4)
    correct = torch.tensor([0, 0, 1, 1, 1, 0, 1, 0], dtype=torch.float64)
    plain = batch_metrics(made.put(reward=correct, correct=correct))
    seeded = made.put(reward=correct, correct=correct, seeded=torch.tensor([0, 0, 2, 1, 0, 0, 0, 0]))
    measured = batch_metrics(seeded)
    assert plain["correct"] == 0.5 and measured["correct"] == pytest.approx(2 / 6)
    assert measured["seeding/failed_groups"] == measured["seeding/seeded_groups"] == 1
    assert measured["seeding/correct"] == 1 and measured["seeding/solved_groups"] == 1
    assert not any(name.startswith("seeding/") for name in plain)
