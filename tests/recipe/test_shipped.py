"""Every recipe that ships parses, resolves and comes back the same; its first steps follow a golden curve.

A golden curve is five steps of each phase of the recipe, shrunk to a model of one block of width 32 and
small batches, in fp32: loss, gradient norm, entropy, tokens, reward. Where a phase has judges, one that gives
partial credit for like characters is added, so that an untrained model earns rewards that differ and there
is something to learn; images are judged by how bright they are. A recipe that needs a download runs
on a stand-in for its model and data.

How closely a curve must be followed is measured, not chosen. Beside it stands how far its readings move when
every weight of the model is off by a rounding error of fp32 to begin with. Another CPU, or another number of
threads, rounds sums of up to a hundred terms in another order: the root of a hundred such errors.

    python -m tests.recipe.test_shipped [NAME ...]    writes tests/golden/*.json again; read the difference
"""

import json
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from oneloop.core.declared import declared
from oneloop.core.rooms import part_name
from oneloop.judge.verifier import Verifier
from oneloop.models.language.small_llama import SmallLlama
from oneloop.models.vision_language.flexible_llava import FlexibleLlava
from oneloop.models.vision_language.small_llava import SmallLlava
from oneloop.recipe.needs import NEEDS
from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.recipe.text import shipped, to_recipe
from oneloop.recipe.text import written as written_out
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.image_tokenizer import ImageTokenizer
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.vision_language import VisionLanguage

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
RECIPES = list(shipped().values())
OFFLINE = [path for path in RECIPES if path.stem not in NEEDS or NEEDS[path.stem].of == "fetch"]
"""Those that run here, a fetched model replaced; test_handwriting_recipes.py runs two of the others."""
LIKENESS = f"{ROOT / 'tests' / 'support' / 'toy_parts.py'}:Likeness"
BRIGHTNESS = f"{ROOT / 'tests' / 'support' / 'toy_parts.py'}:Brightness"
STEPS = 5
CURVE = ("phase", "loss", "grad_norm", "entropy", "step_tokens", "reward")
EPSILON = torch.finfo(torch.float32).eps
MOVED = 4
"""Curves whose largest distance from the golden one is the sensitivity of a phase's readings."""
ROUNDINGS = 64
"""How many times its sensitivity a reading may be off: libraries order long sums as they like."""


def shrunk(source: Path, *overrides: str) -> Recipe:
    """The recipe with a tiny model and few rollouts, five steps a phase, nothing measured besides."""
    recipe = load_recipe(source)[0]
    phases, tokenizer = recipe.phases, isinstance(recipe.policy, ImageTokenizer)
    images = tokenizer or isinstance(recipe.policy, Flow)
    pictured, made = isinstance(recipe.policy, VisionLanguage), recipe.policy.model
    policy = f"policy.{part_name(type(recipe.policy))}"
    small = "small_llava" if pictured else "small_llama"
    flexible = isinstance(made, FlexibleLlava)
    within = f"{policy}.model.flexible_llava" if flexible else policy
    model = f"{within}.model.{part_name(type(made)) if images else small}"
    built_here = images or flexible or isinstance(made, SmallLlama | SmallLlava)
    stand_in = [] if built_here else [f"{policy}.model={{{small}: {{}}}}"]
    changes = [*stand_in, "evaluate=null", f"{model}.hidden_size=32", f"{model}.layers=1", *overrides]
    if isinstance(recipe.policy, Language) and recipe.policy.elastic:
        changes += [f"{model}.layers=2", f"{policy}.elastic={{layers: [1], heads: [2], width: [48]}}"]
    if images and not tokenizer:
        changes.append("policy.flow.precision=float32")
    elif not images:
        changes += [f"{policy}.precision=float32", f"{policy}.sampling_precision=same"]
    for name, phase in phases.items():
        path = f"phases.{name}" if len(phases) > 1 else ""
        options = {"steps": STEPS, "plan.groups": 4}
        if isinstance(phase.plan.count, Allocate):
            few = {"base": 2, "mean_budget": 4, "min_per_prompt": 3}
            options |= {f"plan.count.allocate.{option}": value for option, value in few.items()}
        elif phase.sample == "policy" and not phase.plan.dress:  # a tree has as many leaves as its forks say
            options["plan.count.uniform.n"] = 4
        changes += [f"{path}.{option}={value}".lstrip(".") for option, value in options.items()]
        if phase.judge and images and "reference_output" not in declared(phase.judge[0], "reads"):
            changes.append(f"{path}.judge=['{BRIGHTNESS}']".lstrip("."))
        elif phase.judge and not images:
            judges = [shrunk_judge(judge) for judge in phase.judge]
            changes.append(f"{path}.judge={json.dumps([*judges, LIKENESS])}".lstrip("."))
    return load_recipe(source, changes)[0]


def shrunk_judge(judge: Any) -> Any:
    """A verifier with what its data needs, every other judge as it is."""
    return {"verifier": {"by": judge.by}} if isinstance(judge, Verifier) else to_recipe(judge)


def curve(recipe: Recipe) -> list[dict[str, Any]]:
    """What every step of `recipe` measured."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, Path(folder) / "run", show=Show(quiet=True))
        run.train()
    return [{name: line[name] for name in CURVE if name in line} for line in run.history]


def moved(opened: Callable[[Any], Any], seed: int) -> Callable[[Any], Any]:
    """`open` of a policy, with each weight off by EPSILON of itself, up or down at random by `seed`."""

    def open_moved(options: Any) -> Any:
        policy, generator = opened(options), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight.mul_(1 + EPSILON * (2 * torch.randint(0, 2, weight.shape, generator=generator) - 1))
        if hasattr(policy, "engine"):
            policy.engine.refresh()
        return policy

    return open_moved


def sensitivity(source: Path, golden: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By phase, how far its readings move at most when the weights are moved; in their own units."""
    policy = type(load_recipe(source)[0].policy)
    found: dict[str, dict[str, float]] = {}
    for seed in range(MOVED):
        with patch.object(policy, "open", moved(policy.open, seed)):
            other = curve(shrunk(source))
        for line, wanted in zip(other, golden, strict=True):
            phase = found.setdefault(wanted["phase"], {})
            for name in wanted.keys() - {"phase"}:
                phase[name] = max(phase.get(name, 0.0), abs(line[name] - wanted[name]))
    return found


def faults(measured: list[dict[str, Any]], golden: dict[str, Any]) -> list[str]:
    """What in `measured` is not the golden curve, in words."""
    said = []
    for number, (got, wanted) in enumerate(zip(measured, golden["curve"], strict=True), start=1):
        if got.keys() != wanted.keys() or got["phase"] != wanted["phase"]:
            said.append(
                f"step {number}: {sorted(got)} of {got['phase']}, not {sorted(wanted)} of {wanted['phase']}"
            )
            continue
        for name, allowed in golden["sensitivity"][wanted["phase"]].items():
            # a reading is itself a sum in fp32, which rounds even where nothing it is made of moved
            bound = ROUNDINGS * max(allowed, EPSILON * abs(wanted[name]))
            if not abs(got[name] - wanted[name]) <= bound:
                said.append(f"step {number}: {name} is {got[name]}, not {wanted[name]} +- {bound:.1e}")
    return said


def test_there_are_recipes():
    assert {"quickstart", "tiny", "sft", "dft", "otr", "grpo_gsm8k_gpu"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("source", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_resolves_and_comes_back_the_same(source, tmp_path):
    recipe, notes = load_recipe(source)
    assert notes == []  # our own recipes use our own names
    assert recipe.name == source.stem and recipe.paper
    written = tmp_path / "again.yaml"
    written.write_text(written_out(recipe))
    again, _ = load_recipe(written)
    assert again == recipe
    assert written_out(again) == written_out(recipe)


@pytest.mark.parametrize("source", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_how_to_run_it(source):
    head = [line for line in source.read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith("#   oneloop ") and f" {source.stem}" in line for line in head)


@pytest.mark.parametrize("source", RECIPES, ids=lambda path: path.stem)
def test_the_changes_its_head_proposes_are_accepted(source):
    for line in source.read_text().splitlines():
        _, found, proposed = line.partition(f" {source.stem} " if "oneloop train" in line else " append ")
        if line.startswith("#") and found:
            changes = [word for word in shlex.split(proposed) if re.match(r"[\w.]+=", word)]
            assert changes, line
            load_recipe(source, changes)


@pytest.mark.slow
@pytest.mark.parametrize("source", OFFLINE, ids=lambda path: path.stem)
def test_the_first_steps_follow_the_golden_curve(source):
    assert faults(curve(shrunk(source)), read_golden(source)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "everything"])
def test_a_golden_curve_notices_one_advantage_that_is_a_thousandth_off(name):
    source = shipped()[name]
    credit = type(next(phase.credit[0] for phase in load_recipe(source)[0].phases.values() if phase.credit))
    right = credit.__call__

    def off(part: Any, rollouts: Any) -> Any:
        credited = right(part, rollouts)
        advantage = credited.actions.advantage.clone()
        advantage[advantage.nan_to_num().abs().argmax()] *= 1.001
        return credited.put_actions(advantage=advantage)

    with patch.object(credit, "__call__", off):
        said = faults(curve(shrunk(source)), read_golden(source))
    assert any("grad_norm" in sentence for sentence in said)


@pytest.mark.parametrize("source", OFFLINE, ids=lambda path: path.stem)
def test_a_golden_curve_is_about_something(source):
    golden = read_golden(source)
    lines = golden["curve"]
    assert len(lines) == STEPS * len(load_recipe(source)[0].phases)
    assert all(line["grad_norm"] > 0 for line in lines)
    # the entropy of an image's steps is set by the noise schedule
    assert len({(line["entropy"], line["grad_norm"]) for line in lines}) == len(lines)


@pytest.mark.parametrize("source", OFFLINE, ids=lambda path: path.stem)
def test_a_golden_curve_is_strict(source):
    """Nothing in it is so sensitive to rounding that a fault of a thousandth would pass as rounding."""
    golden = read_golden(source)
    for line in golden["curve"]:
        for name in ("grad_norm", "entropy", "step_tokens"):
            allowed = golden["sensitivity"][line["phase"]][name]
            assert ROUNDINGS * allowed <= 1e-4 * abs(line[name]), f"{line['phase']}: {name}"


def read_golden(source: Path) -> dict[str, Any]:
    """`curve`, one line a step, and `sensitivity` by phase and reading."""
    return json.loads((GOLDEN / f"{source.stem}.json").read_text())


@pytest.mark.slow
def test_the_gpu_recipe_runs_on_a_stand_in(tmp_path):
    """Its parts fit one another, on rows that have the columns of the data set it names."""
    worked = "Half of 48 is <<48/2=24>>24.\n#### {}"
    rows = [{"question": f"How much is {n} + {n}?", "answer": worked.format(2 * n)} for n in range(8)]
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = shipped()["grpo_gsm8k_gpu"]
    hub = f"{{hub: {{path: {data}, input_key: question, label_key: answer}}}}"
    overrides = [f"plan.data={hub}", "steps=2"]
    recipe = shrunk(source, *overrides, "policy.language.max_new_tokens=8")
    measured = curve(recipe)
    assert len(measured) == STEPS and all(line["grad_norm"] > 0 for line in measured)


if __name__ == "__main__":
    for path in [path for path in OFFLINE if path.stem in sys.argv[1:] or not sys.argv[1:]]:
        steps = curve(shrunk(path))
        lines = ",\n ".join(json.dumps(line) for line in steps)
        moves = json.dumps(sensitivity(path, steps))
        (GOLDEN / f"{path.stem}.json").write_text(f'{{"curve": [\n {lines}],\n"sensitivity": {moves}}}\n')
        print(GOLDEN / f"{path.stem}.json")
