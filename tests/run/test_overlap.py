import pytest

from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import shipped
from oneloop.run.overlap import LOOKED_AT, overlap
from oneloop.sample.data.held_out import NothingHeldOut


def recipe(train, asked, **evaluate):
    made, _ = load_recipe(
        {
            "policy": {"language": {"model": {"small_llama": {}}}},
            "plan": {"data": train},
            "judge": ["verifier"],
            "credit": ["group_relative"],
            "objective": ["policy_gradient"],
            "evaluate": {"data": asked, **evaluate},
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


def test_a_share_that_is_held_out_leaves_no_overlap_and_few_prompts_are_said():
    chain = {"sum_chain": {"length": 2, "size": 2000}}
    told = overlap(
        recipe(chain, {"sum_chain": {"length": 2, "size": 2000, "seed": 9}}, held_out=0.2, size=64)
    )
    assert told.endswith("prompts of evaluate.data are held out, of 64 asked for")
    many = rows(*(str(number) for number in range(200)))
    assert overlap(recipe(many, many, held_out=0.5, size=10)) == ""
    with pytest.raises(NothingHeldOut):
        overlap(recipe(rows("a"), rows("b"), held_out=0.000001))


def test_a_conversation_and_its_text_are_one_prompt():
    told = overlap(recipe(rows("a"), rows([{"role": "user", "content": "a "}])))
    assert told.startswith("1 of the 1 different")


def test_captions_of_pictures_repeat_by_design():
    made = recipe({"shapes": {"size": 9, "image_size": 8}}, {"shapes": {"size": 9, "image_size": 8}})
    assert overlap(made) == ""
    asked = {"rows": {"rows": [{"prompt": "what colour?", "images": ["a.png"]}]}}
    assert overlap(recipe(asked, asked)) == ""


@pytest.mark.parametrize("name", [name for name in shipped() if name != "grpo_gsm8k_gpu"])
def test_no_recipe_that_ships_asks_what_it_trains_on(name):
    assert "occur among" not in overlap(load_recipe(name)[0])
