"""overrides.py and aliases.py: paths through mappings and lists, and other trainers' names."""

import copy

import pytest

from oneloop.core.rooms import find
from oneloop.recipe.aliases import ALIASES, ELSEWHERE
from oneloop.recipe.fields import content_of, init_fields
from oneloop.recipe.overrides import pair_up
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Phase, Recipe, load_recipe
from tests.recipe.test_recipe import POLICY, WHOLE, changed, faults_of


def train(recipe, *overrides):
    return load_recipe(recipe, overrides)[0].phases["train"]


def at(recipe, path):
    """The value of `path` in a checked recipe with one phase."""
    node = recipe.phases["train"] if path.split(".")[0] in init_fields(Phase) else recipe
    steps = path.split(".")
    while steps:
        step = steps.pop(0)
        room, node = content_of(type(node), step).room, getattr(node, step)
        if room and steps:
            wanted = find(room, steps.pop(0))
            node = next(p for p in node if type(p) is wanted) if isinstance(node, tuple) else node
            assert type(node) is wanted
    return node


# path=value


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("learner.learning_rate=1e-4", "learner.learning_rate", 1e-4),
        ("--learner.learning-rate=2e-4", "learner.learning_rate", 2e-4),
        ("plan.count.uniform.n=16", "plan.count.uniform.n", 16),
        ("plan.count=uniform", "plan.count.uniform.n", 8),
        ("objective.policy_gradient.clip_high=0.3", "objective.policy_gradient.clip_high", 0.3),
        ("objective.kl.coefficient=0.01", "objective.kl.coefficient", 0.01),
        ("plan.data.reasoning.options={max_terms: 3}", "plan.data.reasoning.options", {"max_terms": 3}),
        ("plan.data.reasoning.options.max_terms=3", "plan.data.reasoning.options", {"max_terms": 3}),
        ("judge.verifier.limits.timeout=3", "judge.verifier.limits.timeout", 3.0),
        ("judge.verifier={by: exact}", "judge.verifier.by", "exact"),
        ("policy.language.stop=[a, b]", "policy.language.stop", ("a", "b")),
        ("policy.language.lora.rank=4", "policy.language.lora.rank", 4),
        ("plan.in_flight=null", "plan.in_flight", None),
        ("steps=7", "steps", 7),
        ("seed=3", "seed", 3),
    ],
)
def test_one_option(override, path, value):
    recipe, notes = load_recipe(WHOLE, [override])
    assert at(recipe, path) == value and notes == []


def test_the_recipe_given_is_not_changed():
    before = copy.deepcopy(WHOLE)
    load_recipe(WHOLE, ["plan.groups=4", "credit.group_relative.ddof=0"])
    assert before == WHOLE


def test_later_ones_win_and_a_part_in_a_list_keeps_its_other_options():
    phase = train(
        changed(objective=[{"policy_gradient": {"clip_low": 0.1}}]),
        "objective.policy_gradient.clip_high=0.3",
        "objective.policy_gradient.clip_high=0.4",
    )
    (objective,) = phase.objective
    assert (objective.clip_low, objective.clip_high) == (0.1, 0.4)


def test_a_path_into_several_phases_is_the_last_one_and_is_said():
    phases = {name: {key: WHOLE[key] for key in ("plan", "judge", "credit", "objective")} for name in "ab"}
    recipe, notes = load_recipe({"policy": POLICY, "phases": phases}, ["steps=3", "phases.a.steps=2", "lr=1"])
    assert [phase.steps for phase in recipe.phases.values()] == [2, 3]
    assert notes == ["lr -> phases.b.learner.learning_rate = 1", "steps -> phases.b.steps"]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("learner", "'learner' is not an override; write path=value"),
        ("=3", "'=3' is not an override"),
        ("a..b=3", "'a..b=3' is not an override"),
        ("steps=[", "'steps=[': the value is not YAML"),
        ("steps.more=3", "'steps.more': 'steps' is 5, which has no options"),
        (
            "learner.learning_rat=3",
            "recipe.learner.learning_rat: no such option; did you mean 'learning_rate'?",
        ),
        (
            "objective.kll.coefficient=3",
            "recipe.objective[1]: no objective part is called 'kll'; did you mean 'kl'?",
        ),
        ("credit=group_relative", "recipe.credit: must be a list, got 'group_relative'; write it in [ ]"),
        ("judge.0.verifier.by=math", "'judge.0.verifier.by=math': a part in a list is named, not counted"),
        ("judge[0].verifier.by=math", "'judge[0].verifier.by=math': a part in a list is named, not counted"),
        ("out=x", "recipe.out: no such option; write --run DIRECTORY"),
        ("name=5", "recipe.name: must be text, got 5; in quotes it is text"),
        ("num_generations=many", "recipe.plan.count.uniform.n: must be a whole number, got 'many'"),
    ],
)
def test_what_leads_nowhere_is_said(override, fault):
    faults = faults_of(changed(steps=5), [override])
    assert len(faults) == 1 and faults[0].startswith(fault), faults


def test_words_of_the_command_line_become_pairs():
    words = ["--a.b", "c", "--a-b.c-d=e", "f=g", "--bf16", "--lr", "-1", "--flag"]
    assert pair_up(words) == ["a.b=c", "a_b.c_d=e", "f=g", "bf16=true", "lr=-1", "flag=true"]


# other trainers' names

VALUES = {
    "objective.policy_gradient.dual_clip": 3.0,
    "objective.policy_gradient.clip": 0.2,
    "plan.data.hub": "text",
    "policy.language.model": "somebody/some-model",
    "policy.language.lora.targets": "q_proj",
    "policy.language.lora": 8,
    "policy.language.top_p": 0.9,
    "policy.language.min_p": 0.1,
    "plan.shuffle": False,
    "objective": 0.25,
    "learner.learning_rate": 0.5,
    "learner.weight_decay": 0.5,
}


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_sets_a_real_option_and_says_so(name):
    alias = ALIASES[name]
    value = next(iter(alias.values), next((v for k, v in VALUES.items() if alias.paths[0].startswith(k)), 16))
    start = changed(evaluate={"data": "reasoning"}, plan={"groups": 4}, select=["mixed_groups"])
    start["plan"]["data"] = {"hub": {"path": "x"}} if "hub" in alias.paths[0] else "reasoning"
    recipe, notes = load_recipe(start, [f"{name}={str(value).lower() if isinstance(value, bool) else value}"])
    assert len(notes) == len(alias.paths) and all(note.startswith(f"{name} -> ") for note in notes)
    for path in alias.paths:
        if path == alias.part and alias.optional:
            assert any(type(part) is find(*path.split(".")) for part in at(recipe, path.split(".")[0]))
            continue
        found, wanted = at(recipe, path), alias.values.get(value, value)
        assert found == wanted


def test_options_of_a_language_policy_are_those_of_another_that_has_them_too():
    seeing = changed(policy={"vision_language": {"model": "x"}})
    recipe, notes = load_recipe(seeing, ["max_completion_length=5", "lora_r=4"])
    assert (recipe.policy.max_new_tokens, recipe.policy.lora.rank) == (5, 4)
    assert notes[0] == "max_completion_length -> policy.vision_language.max_new_tokens = 5"


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("report_to", "wandb", ("wandb",)),
        ("report_to", "none", ()),
        ("report_to", ["tensorboard"], ("tensorboard",)),
    ],
)
def test_trackers_by_trls_name(name, value, found):
    assert load_recipe(changed(**{name: value}))[0].trackers == found


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "loss_type=dr_grpo",
            "dr_grpo means several options here: write objective.policy_gradient: {mean: constant",
        ),
        ("loss_type=sapo", "'sapo' has no counterpart, known: grpo, dapo"),
        ("dr_grpo=true", "no such option; write objective.policy_gradient: {mean: constant"),
        ("use_peft=true", "no such option; write policy.language.lora: {rank: 16}"),
        ("report_to=mlflow", "trackers"),
        ("optim=adamw_8bit", "no such option; the optimiser is AdamW; write learner.betas"),
        ("generation_kwargs={repetition_penalty: 1.1}", "no such option; write temperature, top_k"),
    ],
)
def test_what_means_something_else_here_is_told_what_to_write(override, words):
    with pytest.raises(RecipeError) as caught:
        load_recipe(changed(), [override])
    assert words in str(caught.value)


def test_no_alias_hides_an_option_of_ours():
    ours = {*init_fields(Recipe), *init_fields(Phase)}
    assert not [name for name in {*ALIASES, *ELSEWHERE} if name.split(".")[0] in ours]


def test_the_names_said_to_be_of_trl_are():
    trl = pytest.importorskip("trl")
    theirs = {field for cls in (trl.GRPOConfig, trl.ModelConfig) for field in cls.__dataclass_fields__}
    assert {
        "num_generations",
        "epsilon",
        "epsilon_high",
        "delta",
        "beta",
        "scale_rewards",
        "loss_type",
    } <= theirs
    known = theirs & {*ALIASES, *ELSEWHERE}
    assert len(known) >= 30, sorted(known)


def test_epsilon_sets_both_clips_and_epsilon_high_the_upper_whatever_the_order():
    for overrides in (["epsilon=.1", "epsilon_high=.3"], ["epsilon_high=.3", "epsilon=.1"]):
        (objective,) = train(WHOLE, *overrides).objective
        assert (objective.clip_low, objective.clip_high) == (0.1, 0.3)
    (objective,) = train({**WHOLE, "epsilon_high": 0.3, "epsilon": 0.1}).objective
    assert (objective.clip_low, objective.clip_high) == (0.1, 0.3)


def test_beta_0_means_no_kl_and_another_beta_adds_it():
    with_kl = changed(objective=["policy_gradient", {"kl": {"coefficient": 0.1}}])
    assert [type(term).__name__ for term in train(with_kl, "beta=0").objective] == ["PolicyGradient"]
    assert load_recipe(with_kl, ["beta=0.0"])[1] == ["beta -> no objective.kl"]
    assert [term.coefficient for term in train(with_kl, "beta=0.04").objective[1:]] == [0.04]
    assert [type(term).__name__ for term in train(WHOLE, "beta=0.04").objective] == ["PolicyGradient", "Kl"]


@pytest.mark.parametrize(
    ("override", "scale"),
    [("scale_rewards=none", "none"), ("scale_rewards=false", "none"), ("scale_rewards=batch", "batch")],
)
def test_values_are_translated(override, scale):
    assert train(WHOLE, override).credit[0].scale == scale


@pytest.mark.parametrize(
    ("changes", "override", "fault"),
    [
        ({}, "loss_type=bnpo", "'loss_type': 'bnpo' has no counterpart, known: grpo, dapo; see objective."),
        (
            {},
            "scale_rewards=1",
            "'scale_rewards': 1 has no counterpart, known: group, batch, none, true, false;",
        ),
        (
            {"objective": ["kl"]},
            "epsilon=.1",
            "'epsilon' means objective.policy_gradient.clip_low, but there is no",
        ),
        (
            {"policy": {"mine.Policy": {}}},
            "top_p=.1",
            "'top_p' means policy.language.top_p, but there is no language",
        ),
    ],
)
def test_a_name_that_means_nothing_here_is_said(changes, override, fault):
    assert any(found.startswith(fault) for found in faults_of(changed(**changes), [override]))


def test_an_alias_beside_a_misspelt_part_adds_no_fault_of_its_own():
    recipe = changed(plan={"data": "reasoning", "count": "unifrm"}, num_generations=4)
    assert faults_of(recipe) == [
        "recipe.plan.count: no count part is called 'unifrm'; did you mean 'uniform'?"
    ]
