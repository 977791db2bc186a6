"""A recipe as it was read: equal, of other parts, without what a run put into them."""

import pytest

from oneloop.credit.group_relative import GroupRelative
from oneloop.judge.one_sided import OneSided
from oneloop.recipe.anew import anew
from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import shipped, written
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.draw.progress import Progress
from oneloop.sample.plan.dress.draw_budget import DrawBudget
from oneloop.sample.plan.dress.seed_contexts import SeedContexts
from oneloop.sample.plan.plan import Plan


@pytest.mark.parametrize("name", ["everything", "one_sided", "onereward", "one_d_piece", "tokenflex"])
def test_a_recipe_anew_is_equal_and_written_alike(name):
    recipe = load_recipe(shipped()[name])[0]
    made = anew(recipe)
    assert made == recipe and made is not recipe and written(made) == written(recipe)
    for old, new in zip(recipe.phases.values(), made.phases.values(), strict=True):
        assert old.plan is not new.plan and old.plan.piles is not new.plan.piles


def test_what_a_run_put_into_parts_is_not_in_those_made_anew():
    rows = Rows(rows=[{"prompt": "1+1=", "answer": "2"}])
    budget, seeds = DrawBudget(choices=(1, 2), draw=Progress(every=1)), SeedContexts(held_out=rows)
    plan = Plan(data=rows, groups=1, dress=(budget, seeds))
    plan.begin(seed=1, steps=1)
    budget.chances.probabilities[:] = [0.9, 0.1]
    made = anew(plan)
    assert vars(made.piles) == {} and made.data is made.dress[1].held_out is not rows
    assert made.dress[0].chances.probabilities.tolist() == [0.5, 0.5]
    assert "store" in vars(seeds) and "store" not in vars(made.dress[1])
    judge = OneSided(judge="verifier")
    judge.memory.total = 3.0
    assert anew(judge).memory.total != 3.0


def test_objects_of_ones_own_and_lists_without_parts_stay_the_same():
    def judge(rollouts):
        return rollouts

    rows = [{"prompt": "1"}]
    made = anew((judge, [GroupRelative()], {"rows": rows}))
    assert made[0] is judge and made[2]["rows"] is rows
