"""schema.py: every part with its options and meanings; accepts good recipes and refuses bad ones."""

import copy

import jsonschema
import pytest

from oneloop.core.rooms import ROOMS, names
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.schema import recipe_schema
from tests.recipe.test_mutated_recipes import RECIPES

SCHEMA = recipe_schema()


def valid(recipe):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(recipe)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_valid(recipe):
    assert valid(recipe)


def test_every_part_of_every_room_is_there_with_a_meaning_for_each_option():
    rooms = [room for room in ROOMS if room in SCHEMA["$defs"]]
    assert set(rooms) == set(ROOMS)
    for room in rooms:
        for name in names(room):
            options = SCHEMA["$defs"][f"{room}.{name}"]
            assert options["description"]
            for option, schema in options["properties"].items():
                assert schema.get("description"), f"{room}.{name}.{option}"


def test_bounds_and_choices_are_there():
    clip = SCHEMA["$defs"]["objective.policy_gradient"]["properties"]
    assert clip["clip_low"]["minimum"] == 0 and clip["clip_low"]["maximum"] == 1
    assert clip["ratio"]["enum"] == ["token", "sequence"]
    assert "piles" not in SCHEMA["$defs"]["oneloop.sample.plan.plan:Plan"]["properties"]


@pytest.mark.parametrize(
    "change",
    [
        {"credt": ["group_relative"]},
        {"objective": ["policy_gradent"]},
        {"objective": []},
        {"objective": "policy_gradient"},
        {"objective": [{"policy_gradient": {"clip_low": 2}}]},
        {"objective": [{"policy_gradient": {"clip": 0.1}}]},
        {"objective": [{"policy_gradient": {}, "kl": {}}]},
        {"steps": "many"},
        {"learner": {"schedule": "linaer"}},
        {"plan": {"groups": 8}},
        {"plan": {"data": "reasoning", "groups": 0}},
        {"judge": [{"verifier": {"limits": {"timeout": -1}}}]},
        {"phases": {}},
    ],
)
def test_what_is_not_a_recipe_is_refused_by_both(change):
    recipe = copy.deepcopy(RECIPES[0]) | change
    assert not valid(recipe)
    with pytest.raises(RecipeError):
        load_recipe(recipe)


def test_parts_of_ones_own_are_allowed():
    assert valid(copy.deepcopy(RECIPES[0]) | {"credit": ["mine.py:Mine", {"my.module.Mine": {"boost": 2}}]})
