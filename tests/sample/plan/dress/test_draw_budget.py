"""Budgets of groups, rollouts and batches: their laws, and what one that follows progress keeps."""

import pytest
import torch
from scipy.stats import chisquare

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.sample.data.counting import Counting
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.plan.count.uniform import Uniform as Each
from oneloop.sample.plan.draw.powers_of_two import PowersOfTwo
from oneloop.sample.plan.draw.progress import Progress
from oneloop.sample.plan.draw.weighted import Weighted
from oneloop.sample.plan.dress.draw_budget import DrawBudget
from oneloop.sample.plan.plan import Plan


def rows(count, groups=None, **facts):
    group = torch.arange(count) if groups is None else torch.arange(count) % groups
    columns = {"id": torch.arange(count), "group": group, "last": torch.full((count,), -1)}
    return Rollouts(
        columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), {"seed": 5, "step": 0, **facts}
    )


def test_lengths_are_uniform_from_one_to_most():
    kept = DrawBudget(most=4, each="rollout")(rows(100_000)).budget
    counts = kept.bincount(minlength=5)
    assert counts[0] == 0 and chisquare(counts[1:].numpy()).pvalue > 0.01
    # E[K] = (N + 1) / 2 and P(token j is kept) = (N - j) / N, each within four standard errors
    assert float(kept.double().mean()) == pytest.approx(2.5, abs=4 * (1.25 / 1e5) ** 0.5)
    for place, chance in enumerate((1.0, 0.75, 0.5, 0.25)):
        error = 4 * (chance * (1 - chance) / 1e5) ** 0.5
        assert float((kept > place).double().mean()) == pytest.approx(chance, abs=error or 1e-12)


def test_laws_that_do_not_change():
    drawn = DrawBudget(least=3, most=20, draw=PowersOfTwo())(rows(40_000)).budget
    assert drawn.unique().tolist() == [4, 8, 16, 20]
    assert chisquare(drawn.bincount()[[4, 8, 16, 20]].numpy()).pvalue > 0.01
    law = Weighted(probabilities=(0.2, 0.3, 0.5))
    drawn = DrawBudget(column="image_tokens", choices=(256, 64, 144), draw=law)(rows(40_000))["image_tokens"]
    counts = drawn.bincount()[[256, 64, 144]]
    assert chisquare(counts.numpy(), [8000, 12000, 20000]).pvalue > 0.01


def test_a_budget_is_named_by_what_it_is_for():
    table = rows(600, groups=150)
    drop = DrawBudget(most=8, each="rollout")
    some = torch.tensor([7, 3, 500])
    assert torch.equal(drop(table.take(some)).budget, drop(table).budget[some])
    of_groups = DrawBudget(most=8)(table).budget.view(4, 150)
    assert (of_groups == of_groups[0]).all() and len(of_groups[0].unique()) == 8
    of_batch = [DrawBudget(most=8, each="batch")(rows(5, step=step)).budget for step in range(200)]
    assert all(len(budget.unique()) == 1 for budget in of_batch)
    assert len({int(budget[0]) for budget in of_batch}) == 8
    assert not torch.equal(drop(table).budget, drop(table.put_facts(seed=6)).budget)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"least": 4, "most": 3}, r"most must be at least least \(4\), got 3"),
        ({}, "give either choices or most"),
        ({"choices": (1, 2), "most": 3}, "give either choices or most"),
        ({"choices": (2, 2)}, r"choices must be different numbers, got \[2, 2\]"),
        ({"most": 2, "draw": {"weighted": {"probabilities": [1.0]}}}, "one for each of 2 choices, got 1"),
    ],
)
def test_what_is_no_law_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        DrawBudget(**options)
    with pytest.raises(ValueError, match=r"add up to 1.*sum 1\.1"):
        Weighted(probabilities=(0.5, 0.6))


def planned(count):
    draw = Progress(every=16, floor=0.3, smoothing=0)
    dress = DrawBudget(column="flops", choices=(100, 200, 400), draw=draw)
    plan = Plan(data=Counting(size=50), groups=4, count=count, dress=(dress,))
    plan.begin(3, 100)
    return plan


def step(plan, skill):
    """One batch: a rollout's reward is the skill of its budget, which grows with every rollout."""
    while True:
        asked = plan.ask()
        budgets = asked["flops"].tolist()
        reward = torch.tensor([skill[budget] for budget in budgets], dtype=torch.float64)
        for budget in budgets:
            skill[budget] += {100: 0.0, 200: 1e-3, 400: 4e-3}[budget]
        done = asked.put(reward=reward, status=["stop"] * len(asked))
        plan.tell(done, done.take(torch.zeros(0, dtype=torch.long)))
        if (batch := plan.batch()) is not None:
            plan.after_update(None, batch)
            return batch


@pytest.mark.parametrize("count", [Each(n=4), Allocate(base=4, mean_budget=6)], ids=["one round", "rounds"])
def test_groups_keep_their_budget_and_the_law_follows_rewards_across_a_resume(count):
    plan = planned(count)
    skill, seen = {100: 0.5, 200: 0.1, 400: 0.0}, []
    for number in range(30):
        if number == 15:
            other = planned(count)
            other.load_state_dict(plan.state_dict())
            plan = other
        batch = step(plan, skill)
        for group in batch.parts(batch.group):
            assert len(group["flops"].unique()) == 1
        seen.append((batch.id.tolist(), batch["flops"].tolist(), plan.metrics()))
    metrics = plan.metrics()
    assert (
        metrics["draw/flops/p_400"] > metrics["draw/flops/p_200"] > metrics["draw/flops/p_100"] >= 0.1 - 1e-12
    )
    assert metrics["draw/flops/entropy"] < 1.0 and metrics["draw/flops/skipped"] == 0
    # the same without the interruption
    plan = planned(count)
    skill = {100: 0.5, 200: 0.1, 400: 0.0}
    for ids, budgets, metrics in seen:
        batch = step(plan, skill)
        assert (batch.id.tolist(), batch["flops"].tolist(), plan.metrics()) == (ids, budgets, metrics)


def test_progress_without_a_judge_is_refused_when_the_recipe_is_loaded():
    raw = {
        "policy": {"language": {"model": {"small_llama": {"hidden_size": 16, "layers": 1}}}},
        "sample": "demonstrations",
        "plan": {"data": "sum_chain", "dress": [{"draw_budget": {"most": 4, "draw": "progress"}}]},
        "objective": ["supervised"],
    }
    with pytest.raises(RecipeError, match=r"draw_budget: learns from 'reward', which nothing writes"):
        load_recipe(raw)
    raw["plan"]["dress"] = [{"draw_budget": {"most": 4, "draw": {"progress": {"signal": "nll"}}}}]
    load_recipe(raw)


@pytest.mark.parametrize("choices", [(256, 64, 144), (3, 1, 2), (5,)])
def test_what_a_budget_earned_is_told_to_its_own_place_in_any_order_of_choices(choices):
    budget = DrawBudget(choices=choices, draw=Progress(every=10_000))
    drawn = budget(rows(60))
    earned = drawn.budget.double() / 7
    assert budget.learn(drawn.put(reward=earned)).budget.tolist() == drawn.budget.tolist()
    for place, choice in enumerate(choices):
        count = int((drawn.budget == choice).sum())
        assert budget.chances.count[place] == count > 0
        assert budget.chances.total[place] == pytest.approx(-count * choice / 7)
    state = budget.state_dict()
    budget.begin()
    assert not budget.chances.count.any()
    budget.load_state_dict(state)
    assert budget.chances.count.sum() == 60
