"""500 mutated recipes: each is accepted or refused in sentences, never with another exception."""

import copy
import random

import pytest
import yaml

from oneloop.recipe import text as recipe_text
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe

MADE = [
    """
policy:
  language: {model: {small_llama: {hidden_size: 32, layers: 1, heads: 2}}, stop: ["\\n"], lora: {rank: 2}}
plan: {data: {reasoning: {options: {min_terms: 2}}}, keep: keep_mixed, in_flight: 9, epochs: 2}
judge: [verifier, {truncated: {penalty: 0.5}}]
credit: [{group_relative: {scale: none}}]
select: [mixed_groups, truncated]
objective:
- {policy_gradient: {mean: constant, constant_length: 16}}
- {kl: {coefficient: 0.01}}
- entropy_bonus
learner: {learning_rate: 1e-3, schedule: cosine, minibatches: 2, betas: [0.9, 0.99]}
evaluate:
  data: {rows: {rows: [{prompt: "1+1=", answer: "2"}]}}
  judge: [{verifier: {by: exact}}]
  every: 5
steps: 3
num_generations: 4
""",
    """
policy: {language: {model: somebody/some-model}}
phases:
  sft: {plan: {data: reasoning}, sample: demonstrations, objective: [one_token], steps: 2}
  rl: {plan: {data: reasoning, count: {uniform: {n: 2}}, leftovers: {max_age: 2}},
       judge: [verifier], credit: [group_relative], objective: [policy_gradient]}
""",
]
SHIPPED = [path.read_text() for path in recipe_text.shipped().values()]
RECIPES = [recipe_text.parse(text) for text in [*MADE, *SHIPPED]]
WORDS = (
    "model uniform kl data phases train judge beta epsilon plan self cls __class__ name rows läuft loss_type"
)
NAMES = [
    *WORDS.split(" "),
    "num_generations",
    ".",
    "..x",
    "a.b",
    "file.py:Class",
    "x.py:",
    "",
    "\ud800",
    "\x00",
    "🙂" * 50,
]
NUMBERS = [0, -1, 1, 7, 10**18, 2**63, 16**5000, -(10**30), 0.5, -0.0, 1e308, float("nan"), float("inf")]
TEXTS = [
    "",
    "8",
    "nan",
    "1e-4",
    "none",
    "x" * 5000,
    "\x00",
    "\ud800",
    "../..",
    "%s %d {}",
    "[bold]",
    "日本語",
]
JUNK = [
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": {"c": []}}},
    {1: 2},
    {None: 3},
    [1, "two", {}],
    b"bytes",
]
WRONG = [
    {"function": {"path": "no.such"}},
    {"kl": None},
    {"kl": []},
    "x.y.Z",
    "no.py:Z",
    "(" * 200,
    "a{9999999999}",
]
NEARLY = [
    "uniform",
    ["verifier", "verifier"],
    {"verifier": {}, "truncated": {}},
    yaml.safe_load("2020-01-01"),
    {1, 2},
]
VALUES = [None, True, False, *NUMBERS, *TEXTS, *JUNK, *WRONG, *NEARLY]


def places(node):
    """Every (container, key) below `node`."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from places(node[key])


def mutate(recipe, draw):
    """Changes one place of `recipe`."""
    container, key = draw.choice(list(places(recipe)))
    kind = draw.choice(["delete", "value", "value", "rename", "swap", "wrap", "add", "double"])
    if kind == "delete":
        del container[key]
    elif kind == "value":
        container[key] = copy.deepcopy(draw.choice(VALUES))
    elif kind == "rename" and isinstance(container, dict):
        name = (
            key[:-1] + draw.choice("aex_")
            if isinstance(key, str) and draw.random() < 0.5
            else draw.choice(NAMES)
        )
        container[name] = container.pop(key)
    elif kind == "swap":
        other, its = draw.choice(list(places(recipe)))
        container[key], other[its] = copy.deepcopy(other[its]), copy.deepcopy(container[key])
    elif kind == "wrap":
        container[key] = draw.choice([[container[key]], {draw.choice(NAMES): container[key]}])
    elif kind == "add" and isinstance(container, dict):
        container[draw.choice(NAMES)] = copy.deepcopy(draw.choice(VALUES))
    elif isinstance(container, list):
        container.append(copy.deepcopy(container[key]))


def override(draw):
    """`path=value`, often nonsense."""
    steps = ["plan", "count", "uniform", "n", "learner", "objective", "kl", "phases", "rl", *NAMES]
    path = ".".join(draw.choice(steps) for _ in range(draw.randint(1, 4)))
    return (
        path
        + draw.choice(["=", "", "=="])
        + draw.choice(["1", "x", "[", "{a: b}", "null", "1e-4", "'", "- a"])
    )


@pytest.mark.parametrize("block", range(5))
@pytest.mark.filterwarnings("ignore")
def test_every_mutated_recipe_is_accepted_or_refused_in_words(block):
    accepted = 0
    for number in range(block * 100, block * 100 + 100):
        draw = random.Random(number)
        raw = copy.deepcopy(draw.choice(RECIPES))
        for _ in range(draw.choice([0, 1, 1, 1, 2, 3, 6])):
            if raw:
                mutate(raw, draw)
        overrides = [override(draw) for _ in range(draw.choice([0, 0, 0, 1]))]
        try:
            recipe, _ = load_recipe(raw, overrides)
        except RecipeError as error:
            assert error.faults and all(isinstance(fault, str) for fault in error.faults)
            for fault in error.faults:
                assert len(fault) < 600 and "\n" not in fault and "Traceback" not in fault, fault
                assert "validation error" not in fault and "ArgsKwargs" not in fault, fault
        else:
            accepted += 1
            assert load_recipe(recipe_text.parse(recipe_text.written(recipe)))[0] == recipe
    assert 5 <= accepted <= 70, accepted  # neither all harmless nor all fatal


@pytest.mark.parametrize("recipe", range(len(RECIPES)))
def test_the_recipes_that_are_mutated_are_valid(recipe):
    load_recipe(copy.deepcopy(RECIPES[recipe]))


@pytest.mark.filterwarnings("ignore")
def test_mutated_text_is_accepted_or_refused_in_words(tmp_path):
    path = tmp_path / "mutated.yaml"
    for number in range(200):
        draw = random.Random(number)
        text = list(draw.choice([*MADE, *SHIPPED]))
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(len(text))
            text[place] = draw.choice(
                [
                    "",
                    "\t",
                    ":",
                    "{",
                    "]",
                    "&a ",
                    "*a",
                    "!!python/object:os.system ",
                    "\n",
                    "é",
                    "- ",
                    text[place] * 2,
                ]
            )
        path.write_text("".join(text), encoding="utf-8")
        try:
            load_recipe(path)
        except RecipeError as error:
            assert error.faults
