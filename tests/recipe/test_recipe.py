"""recipe.py: every fault at once with its path as written, sections folded, and written back to the same."""

import copy
from pathlib import Path

import pytest

from oneloop.core.rooms import find
from oneloop.recipe import text as recipe_text
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from tests.recipe.test_mutated_recipes import RECIPES

POLICY = {"language": {"model": {"small_llama": {"hidden_size": 32, "layers": 1, "heads": 2}}}}
WHOLE = {
    "policy": POLICY,
    "plan": {"data": "reasoning"},
    "judge": ["verifier"],
    "credit": ["group_relative"],
    "objective": ["policy_gradient"],
}
MINE = '''
from typing import Annotated
from pydantic import Field
from oneloop.core.part import part

@part(reads=("reward",), writes=("actions.advantage",))
class Mine:
    """A credit part of somebody else."""
    boost: Annotated[float, Field(ge=0)] = 2.0
    """How much."""
    def __call__(self, rollouts):
        return rollouts.put_actions(advantage=rollouts.spread(rollouts.reward) * self.boost)
'''


def faults_of(recipe, overrides=()):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides)
    return caught.value.faults


def changed(**changes):
    """`WHOLE` with some keys changed; None takes one out."""
    return {key: value for key, value in (copy.deepcopy(WHOLE) | changes).items() if value is not None}


# faults


def test_all_faults_are_said_at_once_with_the_paths_the_user_wrote():
    recipe = changed(
        plan={"data": "reasoning", "count": "unifrm", "groups": 0},
        objective=["policy_gradent", {"kl": {"coefficent": 1}}],
        learner={"schedule": "linaer", "betas": [1, 2, 3], "learning_rate": "fast"},
        credit=None,
        credt=["group_relative"],
    )
    assert faults_of(recipe) == [
        "recipe.plan.groups: must be greater than or equal to 1, got 0",
        "recipe.plan.count: no count part is called 'unifrm'; did you mean 'uniform'?",
        "recipe.objective[0]: no objective part is called 'policy_gradent'; did you mean 'policy_gradient'?",
        "recipe.objective[1].kl.coefficent: no such option; did you mean 'coefficient'?",
        "recipe.learner.learning_rate: must be a number, got 'fast'",
        "recipe.learner.schedule: must be 'constant', 'linear' or 'cosine', got 'linaer'",
        "recipe.learner.betas: takes at most 2, got [1, 2, 3]",
        "recipe.credt: no such option; did you mean 'credit'?",
    ]


def test_paths_of_several_phases_name_the_phase():
    phase = {key: WHOLE[key] for key in ("plan", "judge", "credit", "objective")}
    broken = phase | {"judge": ["verifer"]}
    assert faults_of({"policy": POLICY, "phases": {"a": phase, "train": broken}}) == [
        "recipe.phases.train.judge[0]: no judge part is called 'verifer'; did you mean 'verifier'?"
    ]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"objective": []}, "recipe.objective: needs at least 1, is empty"),
        (
            {"objective": "policy_gradient"},
            "recipe.objective: must be a list, got 'policy_gradient'; write it",
        ),
        ({"objective": None}, "recipe.objective: is required"),
        ({"policy": None}, "recipe.policy: is required"),
        ({"policy": {"language": {}}}, "recipe.policy.language.model: is required"),
        ({"plan": 3}, "recipe.plan: must be a mapping of options"),
        (
            {"plan": {"data": "reasoning", "in_flight": 2}},
            "recipe.plan: in_flight must be at least groups (8), got 2",
        ),
        ({"judge": [{"verifier": {}, "truncated": {}}]}, "recipe.judge[0]: a judge part is written"),
        (
            {"judge": ["mixed_groups"]},
            "recipe.judge[0]: no judge part is called 'mixed_groups'; it is a select part",
        ),
        (
            {"judge": [{"verifier": {"extract": "("}}]},
            "recipe.judge[0].verifier: extract is no regular expression",
        ),
        (
            {"judge": [{"verifier": {"limits": {"timeut": 1}}}]},
            "recipe.judge[0].verifier.limits.timeut: no such",
        ),
        ({"steps": 2.5}, "recipe.steps: must be a whole number, got 2.5"),
        ({"steps": 16**5000}, "recipe.steps: a whole number must fit 64 bits"),
        (
            {"learner": {"learning_rate": float("nan")}},
            "recipe.learner.learning_rate: a number must be finite",
        ),
        ({"name": "../elsewhere"}, "recipe.name: must begin with a letter or digit and have letters, digits"),
        ({"budget": {"tokens": 5}}, "recipe.budget.tokens: must be 'sampled_tokens', 'trained_tokens'"),
        ({"groups": 4}, "recipe.groups: no such option; did you mean 'plan.groups'?"),
        ({"epochs": 4}, "recipe.epochs: no such option; did you mean 'plan.epochs' or 'learner.epochs'?"),
        ({"num_generation": 4}, "recipe.num_generation: no such option; did you mean 'num_generations'?"),
        ({"per_device_train_batch_size": 4}, "recipe.per_device_train_batch_size: no such option; it counts"),
        ({"phases": {}, "plan": None}, "recipe.phases: needs at least 1, is empty"),
        ({"phases": {"a/b": {}}}, "recipe.phases.a/b"),
    ],
)
def test_a_fault_in_words(changes, fault):
    assert any(found.startswith(fault) for found in faults_of(changed(**changes))), faults_of(
        changed(**changes)
    )


def test_stages_beside_phases_are_said_to_belong_inside():
    recipe = {**WHOLE, "phases": {"a": {key: WHOLE[key] for key in ("plan", "judge", "credit", "objective")}}}
    assert "recipe.judge: no such option; it belongs to a phase: phases.<name>.judge" in faults_of(recipe)


def test_options_of_lora_are_said_with_their_own_names():
    language = {"model": "x/y", "lora": {"rnk": 1, "targets": 3}, "stop": [1]}
    assert sorted(faults_of(changed(policy={"language": language}))) == [
        "recipe.policy.language.lora.rnk: no such option; did you mean 'rank'?",
        "recipe.policy.language.lora.targets: must be a list or text, got 3",
        "recipe.policy.language.stop[0]: must be text, got 1; in quotes it is text",
    ]


def test_a_part_that_breaks_while_it_is_made_is_a_fault():
    (fault,) = faults_of(changed(judge=[{"verifier": {"extract": "a{9999999999}"}}]))
    assert fault.startswith("recipe.judge[0]: cannot be made: OverflowError")


# files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: 1\nsteps: 2\n", "line 2: 'steps' is given twice"),
        ("a: [", "while parsing"),
        ("- 1", "must hold a mapping"),
        ("a: &a [*a]", "contains itself"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_said(tmp_path, text, words):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert words in faults_of(path)[0]


def test_a_missing_or_binary_file_is_said(tmp_path):
    assert "cannot read the recipe" in faults_of(tmp_path / "none.yaml")[0]
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    assert "not UTF-8" in faults_of(tmp_path / "binary.yaml")[0]


def test_the_file_names_the_run_and_numbers_may_be_written_1e_4(tmp_path):
    path = tmp_path / "my recipe(1).yaml"
    text = recipe_text.yaml.dump(changed(learner={"learning_rate": "LR"})).replace("LR", "1e-4")
    path.write_text(text)
    recipe, _ = load_recipe(path)
    assert recipe.name == "my-recipe-1-" and recipe.phases["train"].learner.learning_rate == 1e-4


def test_a_text_like_a_number_stays_a_text(tmp_path):
    recipe, _ = load_recipe(changed(judge=[{"verifier": {"extract": "1e-4"}}], paper="1e5"))
    again, _ = load_recipe(recipe_text.parse(recipe_text.written(recipe)))
    assert again == recipe and again.paper == "1e5"


def test_anchors_of_yaml_are_not_changed_together():
    shared = {"data": "reasoning", "groups": 4}
    recipe = {"policy": POLICY, "phases": {}}
    for name in ("a", "b"):
        recipe["phases"][name] = {"plan": shared, "objective": ["supervised"], "sample": "demonstrations"}
    loaded, _ = load_recipe(recipe, ["phases.a.plan.groups=2"])
    assert [phase.plan.groups for phase in loaded.phases.values()] == [2, 4]
    assert shared == {"data": "reasoning", "groups": 4}


# what a recipe means


@pytest.mark.parametrize("recipe", [*RECIPES, WHOLE])
def test_a_resolved_recipe_gives_the_same_recipe_again(recipe):
    first, _ = load_recipe(recipe)
    text = recipe_text.written(first)
    again, notes = load_recipe(recipe_text.parse(text))
    assert again == first and recipe_text.written(again) == text and notes == []


def test_demonstrations_are_one_a_row():
    recipe = changed(sample="demonstrations", objective=["supervised"], judge=None, credit=None)
    assert load_recipe(recipe)[0].phases["train"].plan.count.n == 1
    recipe["plan"] = {"data": "reasoning", "count": {"uniform": {"n": 3}}}
    assert faults_of(recipe)[0].startswith("recipe.plan.count.uniform.n: a data row has one demonstration")


@pytest.mark.parametrize("way", ["dotted", "file"])
def test_a_part_of_ones_own_works_without_touching_the_package(tmp_path, monkeypatch, way):
    (tmp_path / "elsewhere.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    name = {"dotted": "elsewhere.Mine", "file": "elsewhere.py:Mine"}[way]
    recipe, _ = load_recipe(changed(credit=[{name: {"boost": 3}}]))
    (mine,) = recipe.phases["train"].credit
    assert type(mine) is find("credit", name) and mine.boost == 3.0
    again, _ = load_recipe(recipe_text.parse(recipe_text.written(recipe)))
    assert again == recipe
    override, _ = load_recipe(changed(credit=[name]), [f"credit.{name}.boost=4"])
    assert override.phases["train"].credit[0].boost == 4.0
    (fault,) = faults_of(changed(credit=[{name: {"bost": 3}}]))
    assert fault == f"recipe.credit[0].{name}.bost: no such option; did you mean 'boost'?"


def test_a_part_of_ones_own_is_found_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    text = recipe_text.written(load_recipe(changed(credit=["mine.py:Mine"]))[0])
    monkeypatch.chdir(Path("/"))
    assert load_recipe(recipe_text.parse(text))[0].phases["train"].credit[0].boost == 2.0


def test_parts_made_in_python_are_taken_as_they_are():
    verifier = find("judge", "verifier")(by="exact")

    def judge(rollouts):
        return rollouts

    recipe, _ = load_recipe(changed(judge=[verifier, judge]))
    assert recipe.phases["train"].judge == (verifier, judge)
    assert "<tests.recipe.test_recipe.test_parts_made_in_python" in recipe_text.written(recipe)
    assert "got <class" in faults_of(changed(judge=[type(verifier)]))[0]


def test_a_text_in_braces_is_told_quotes(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("plan: {data: {reasoning: {prompt: {question}}}}\n")
    with pytest.raises(
        RecipeError, match="prompt: must be text, got {'question': None}; what has braces is written"
    ):
        load_recipe(path)
    path.write_text("plan: {data: {reasoning: {prompt: {{question}}}}}\n")
    with pytest.raises(
        RecipeError, match="a.yaml is not a recipe: line 1: a mapping or list is used as a key"
    ):
        load_recipe(path)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("learner.betas=[3, .9]", r"learner.betas\[0\]: must be less than 1, got 3"),
        (
            "learner.betas=[.9, -.1]",
            r"learner.betas\[1\]: must be greater than or equal to 0",
        ),
        (
            "policy.language.model={small_llama: {layers: 1000000000}}",
            "layers: must be less than or equal to 1000",
        ),
    ],
)
def test_numbers_that_nobody_means_are_refused(override, fault):
    with pytest.raises(RecipeError, match=fault):
        load_recipe("quickstart", [override])
