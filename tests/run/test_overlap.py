import pytest

from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import shipped
from oneloop.run.overlap import LOOKED_AT, overlap


def recipe(train, held_out, **evaluate):
    made, _ = load_recipe(
        {
            "policy": {"language": {"model": {"small_llama": {}}}},
            "plan": {"data": train},
            "judge": ["verifier"],
            "credit": ["group_relative"],
            "objective": ["policy_gradient"],
            "evaluate": {"data": held_out, **evaluate},
        }
    )
    return made


def rows(*prompts):
    return {"rows": {"rows": [{"prompt": prompt} for prompt in prompts]}}


def test_prompts_that_are_trained_on_are_counted_once():
    told = overlap(recipe(rows("a", "b", "c"), rows("a", "a", "b", "x")))
    assert told.startswith(
        "2 of the 3 different held-out prompts occur among the 3 training rows looked at too"
    )
    assert overlap(recipe(rows("a", "b"), rows("x", "y"))) == ""
    assert overlap(recipe(rows("b"), rows("x", "b"), size=1)) == ""


def test_a_small_task_repeats_itself_under_another_seed_and_a_large_one_does_not():
    small, large = (
        {"length": 2, "size": 10**9},
        {"task": "chain_sum", "options": {"min_digits": 9, "max_digits": 9}},
    )
    told = overlap(recipe({"sum_chain": small}, {"sum_chain": {**small, "size": 64, "seed": 1000}}))
    assert f"among the {LOOKED_AT} training rows" in told
    assert overlap(recipe({"reasoning": large}, {"reasoning": {**large, "seed": 1}}, size=50)) == ""


def test_captions_of_pictures_repeat_by_design():
    made = recipe({"shapes": {"size": 9, "image_size": 8}}, {"shapes": {"size": 9, "image_size": 8}})
    assert overlap(made) == ""


@pytest.mark.parametrize("name", ["capo", "otr", "brorl", "xrpo"])
def test_recipes_that_train_on_held_out_prompts_say_so_in_their_head(name):
    assert overlap(load_recipe(name)[0])
    assert "training meets those that are held out" in shipped()[name].read_text()
