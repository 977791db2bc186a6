"""The comparison on a pretrained model: its sums, its critic, and recipes that differ as they say."""

import benchmarks.pretrained as pretrained
import pytest
from benchmarks.pretrained import WRONG, arms, demonstrations, rows, wrong_lines

from oneloop.recipe.recipe import load_recipe
from oneloop.sample.policies.language import Language


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["3 + 4 = 7\n", "7 + 2 = 9"], []),
        (["3 + 4 = 8\n", "8 + 2 = 10"], [0]),  # the second follows from what the first states
        (["3 + 4 = 8\n", "7 + 2 = 9"], [0, 1]),
        (["3 + 4 = 7\n", "7 + 2 = 9\n", "9 + 1 = 10"], [2]),
        (["The answer is 9."], [0]),
        ([], []),
    ],
)
def test_the_critic_finds_the_wrong_lines(lines, wrong):
    assert sorted(wrong_lines(lines, 3, 4, 2)) == wrong


def test_no_held_out_sum_is_trained_on_and_half_of_the_demonstrations_are_wrong():
    sums = [{(r["a"], r["b"], r["c"]) for r in rows(split)} for split in ("train", "test")]
    assert not sums[0] & sums[1] and len(sums[0] | sums[1]) == 9**3
    found = demonstrations(WRONG)
    wrong = [bool(wrong_lines(r["completion"].splitlines(), r["a"], r["b"], r["c"])) for r in found]
    assert abs(sum(wrong) / len(wrong) - WRONG) < 1 / len(wrong)
    for r in demonstrations(0):
        assert r["completion"].endswith(f"= {r['answer']}")
        assert not wrong_lines(r["completion"].splitlines(), r["a"], r["b"], r["c"])


@pytest.mark.parametrize("kind", ["rewards", "demonstrations"])
def test_every_arm_is_a_recipe_on_the_same_data_and_evaluation(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "warm_start", lambda recipe, folder: "a-model")
    found = {name: load_recipe(made)[0] for name, made in arms("a-model", tmp_path, kind).items()}
    assert len({str(recipe.evaluate) for recipe in found.values()}) == 1
    assert all(isinstance(recipe.policy, Language) for recipe in found.values())
    for recipe in found.values():
        (phase,) = recipe.phases.values()
        count = phase.plan.count
        each = getattr(count, "n", None) or count.mean_budget
        assert (phase.plan.groups, each) == ((4, 8) if kind == "rewards" else (32, 1))
        assert phase.learner.learning_rate == (1e-5 if kind == "rewards" else 3e-5)
