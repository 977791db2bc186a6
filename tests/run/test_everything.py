"""The recipe everything: each method leaves its trace, and a killed run resumes to the bit.

All runs are of one recipe object, which holds nothing of a run.
"""

from functools import cache
from pathlib import Path

import pytest

from oneloop.recipe.fields import init_fields
from tests.recipe.test_shipped import shrunk
from tests.support.training import assert_equal, cut_and_resumed, outcome, recorded, run_quietly

pytestmark = pytest.mark.slow

RECIPE = Path("everything")
OPTIONS = ("save_every=2", "phases.everything.plan.in_flight=6")


@cache
def read():
    return shrunk(RECIPE, *OPTIONS)


def train(directory, resume=False):
    return run_quietly(read(), directory, resume)


def test_killed_and_resumed_it_is_the_same_run(whole, tmp_path):
    assert_equal(outcome(whole), cut_and_resumed(train, tmp_path / "cut", step=8))


def test_the_recipe_stays_as_it_was_read(whole_run):
    for name, phase in read().phases.items():
        ran = whole_run.recipe.phases[name].plan
        assert vars(phase.plan.piles) == {} and ran.piles.step > 0 and ran == phase.plan
        held = [vars(each).keys() - init_fields(type(each)) for each in phase.plan.dress]
        assert not any(held) and all(vars(each).keys() - init_fields(type(each)) for each in ran.dress)


def test_every_stage_leaves_its_work_in_the_files(whole):
    rows = recorded(whole, "everything")
    assert {row["round"] for row in rows} >= {0, 1}, "who got more rollouts, and in which phase"
    assert any(row["critique"] for row in rows), "which steps were voted wrong"
    assert any(set(row["flaw"]) == {0.0, 1.0} or 1.0 in row["flaw"] for row in rows)
    trained = [row for row in rows if row["trained"]]
    kept = [sum(share > 0 for share in row["share"]) for row in trained]
    assert any(0 < count < len(row["share"]) for count, row in zip(kept, trained, strict=True)), "top tokens"
    assert any(count == 0 for count in kept), "rollouts outside the subset"
    assert any(row["novelty"] is not None for row in trained)
