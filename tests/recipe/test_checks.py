"""checks.py: columns, units, judges, demonstrations and divisibility."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from oneloop.core.part import part
from oneloop.recipe.checks import nearest_divisors, nearest_multiples
from oneloop.recipe.recipe import load_recipe
from tests.recipe.test_recipe import changed, faults_of


@part(reads=("actions.novelty",), units=("nats_per_dim",))
class Reader:
    def __call__(self, rollouts):
        return rollouts


@part(writes=("actions.novelty",))
class Writer:
    size: Annotated[int, Field(ge=0)] = 0

    def __call__(self, rollouts):
        return rollouts


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"judge": []},
            ["recipe.credit[0].group_relative: reads 'reward', which nothing before it writes; add"],
        ),
        (
            {"credit": []},
            [
                "recipe.objective[0].policy_gradient: reads 'actions.advantage', which nothing before it "
                "writes; a credit part such as group_relative writes it"
            ],
        ),
        (
            {"sample": "demonstrations", "judge": [], "plan": {"data": "reasoning", "keep": "keep_mixed"}},
            [
                "recipe.plan.keep.keep_mixed: reads 'reward', which nothing before it writes; demonstrations",
                "recipe.credit[0].group_relative: reads 'reward'",
                "recipe.objective[0].policy_gradient: reads 'actions.logprob', which nothing before it",
            ],
        ),
        (
            {"credit": ["group_relative", "group_relative"]},
            ["recipe.credit[1].group_relative: overwrites 'actions.advantage' of credit[0].group_relative"],
        ),
        (
            {"judge": ["verifier", {"verifier": {"by": "exact"}}]},
            ["recipe.judge[1].verifier: judge[0] is called 'verifier' too; give it another name"],
        ),
        (
            {"judge": [{"verifier": {"weight": 0}}]},
            ["recipe.judge: no judge has a weight, so there is no reward"],
        ),
        (
            {"learner": {"minibatches": 3}},
            [
                "recipe.learner.minibatches: 3 does not divide plan.groups = 8; nearest minibatches that do: "
                "1, 2, 4; nearest groups it divides: 6, 9, 12"
            ],
        ),
    ],
)
def test_what_cannot_run_is_refused(changes, faults):
    found = faults_of(changed(**changes))
    assert len(found) == len(faults)
    assert all(sentence.startswith(start) for sentence, start in zip(found, faults, strict=True)), found


def test_an_evaluation_needs_a_judge():
    sft = {"sample": "demonstrations", "objective": ["supervised"], "judge": None, "credit": None}
    recipe = changed(**sft, evaluate={"data": "reasoning"})
    assert faults_of(recipe)[0].startswith(
        "recipe.evaluate.judge: nobody scores the evaluation; add a judge ("
    )
    recipe["evaluate"]["judge"] = ["verifier"]
    assert load_recipe(recipe)[0].evaluate.size == 256


def test_columns_are_written_in_order():
    load_recipe(changed(credit=["group_relative", Writer()], select=["mixed_groups"]))
    faults = faults_of(changed(credit=[Reader(), Writer(), "group_relative"]))
    assert any("reads 'actions.novelty', which nothing before it writes" in fault for fault in faults)


def test_units_of_the_policy_and_of_a_part_must_agree():
    faults = faults_of(changed(credit=[Writer(), Reader(), "group_relative"]))
    where = "recipe.credit[1].tests.recipe.test_checks.Reader"
    assert faults == [f"{where}: works on a logprob in nats_per_dim, but the policy's is in nats"]


def test_a_supervised_phase_may_still_be_judged_and_selected():
    recipe = changed(sample="demonstrations", objective=["supervised"], credit=None, select=["mixed_groups"])
    assert load_recipe(recipe)[0].phases["train"].judge


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_nearest_numbers_are_valid_and_the_nearest(whole, wanted):
    every = [d for d in range(1, whole + 1) if whole % d == 0]
    found = nearest_divisors(whole, wanted)
    assert found == sorted(sorted(every, key=lambda d: (abs(d - wanted), d))[:3])
    multiples = nearest_multiples(whole, wanted)
    assert len(multiples) == 3 and all(m % wanted == 0 and m > 0 for m in multiples)
    farthest = max(abs(m - whole) for m in multiples)
    others = set(range(wanted, 2 * whole + 4 * wanted, wanted)) - set(multiples)
    assert all(abs(other - whole) >= farthest for other in others)


def test_greedy_sampling_is_refused_where_a_policy_learns_from_its_samples():
    policy = {"language": {"model": "some/model", "temperature": 0}}
    assert any("temperature 0, greedy" in fault for fault in faults_of(changed(policy=policy)))
    count = {"data": "reasoning", "count": {"uniform": {"n": 1}}}
    supervised = {"sample": "demonstrations", "judge": [], "credit": [], "objective": ["supervised"]}
    load_recipe(changed(policy=policy, plan=count, **supervised))
