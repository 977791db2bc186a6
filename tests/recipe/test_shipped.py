"""Every recipe that ships parses, resolves and comes back the same; its first steps follow a golden curve.

A golden curve is five steps of each phase of the recipe, shrunk to a model of one block of width 32 and
small batches, in fp32: loss, gradient norm, entropy, tokens, reward. Where a phase has judges, one that gives
partial credit for like characters is added, so that an untrained model earns rewards that differ and there
is something to learn; images are judged by how bright they are. A recipe that needs the hub runs on a
stand-in for its model and data.

    python -m tests.recipe.test_shipped    writes tests/golden/*.json again; read the difference
"""

import json
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest

from oneloop.core.part import declared
from oneloop.core.rooms import name_of
from oneloop.judge.verifier import Verifier
from oneloop.recipe.recipe import Recipe, load_recipe, resolved
from oneloop.recipe.text import shipped, to_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.policies.flow import Flow

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
RECIPES = list(shipped().values())
NEEDS_THE_HUB = ("grpo_gsm8k_gpu",)
OFFLINE = [path for path in RECIPES if path.stem not in NEEDS_THE_HUB]
LIKENESS = f"{ROOT / 'tests' / 'support' / 'toy_parts.py'}:Likeness"
BRIGHTNESS = f"{ROOT / 'tests' / 'support' / 'toy_parts.py'}:Brightness"
STEPS = 5
CURVE = ("phase", "loss", "grad_norm", "entropy", "step_tokens", "reward")


def shrunk(source: Path, *overrides: str) -> Recipe:
    """The recipe with a tiny model and few rollouts, five steps a phase, nothing measured besides."""
    recipe = load_recipe(source)[0]
    phases, images = recipe.phases, isinstance(recipe.policy, Flow)
    model = (
        f"policy.flow.model.{name_of(type(recipe.policy.model))}"
        if images
        else "policy.language.model.small_llama"
    )
    changes = ["evaluate=null", f"{model}.hidden_size=32", f"{model}.layers=1", *overrides]
    if not images:
        changes += ["policy.language.precision=float32", "policy.language.sampling_precision=same"]
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


def test_there_are_recipes():
    assert {"quickstart", "sft", "dft", "otr", "grpo_gsm8k_gpu"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("source", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_resolves_and_comes_back_the_same(source, tmp_path):
    recipe, notes = load_recipe(source)
    assert notes == []  # our own recipes use our own names
    assert recipe.name == source.stem and recipe.paper
    written = tmp_path / "again.yaml"
    written.write_text(resolved(recipe))
    again, _ = load_recipe(written)
    assert again == recipe
    assert resolved(again) == resolved(recipe)


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
    golden = json.loads((GOLDEN / f"{source.stem}.json").read_text())
    measured = curve(shrunk(source))
    assert [line["phase"] for line in measured] == [line["phase"] for line in golden]
    for number, (got, wanted) in enumerate(zip(measured, golden, strict=True), start=1):
        assert got.keys() == wanted.keys()
        for name in wanted.keys() - {"phase"}:
            # on-policy losses cancel to about 0: what is left of them is compared to the size of their terms
            close = pytest.approx(wanted[name], rel=1e-4, abs=2e-6 if name == "loss" else 0)
            assert got[name] == close, f"step {number}: {name}"


@pytest.mark.parametrize("source", OFFLINE, ids=lambda path: path.stem)
def test_a_golden_curve_is_about_something(source):
    golden = json.loads((GOLDEN / f"{source.stem}.json").read_text())
    assert len(golden) == STEPS * len(load_recipe(source)[0].phases)
    assert all(line["grad_norm"] > 0 for line in golden)
    # the entropy of an image's steps is set by the noise schedule
    assert len({(line["entropy"], line["grad_norm"]) for line in golden}) == len(golden)


@pytest.mark.slow
def test_the_gpu_recipe_runs_on_a_stand_in(tmp_path):
    """Its parts fit one another, on rows that have the columns of the data set it names."""
    worked = "Half of 48 is <<48/2=24>>24.\n#### {}"
    rows = [{"question": f"How much is {n} + {n}?", "answer": worked.format(2 * n)} for n in range(8)]
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = shipped()["grpo_gsm8k_gpu"]
    hub = f"{{hub: {{path: {data}, input_key: question, label_key: answer}}}}"
    overrides = [f"plan.data={hub}", "policy.language.model={small_llama: {heads: 2}}", "steps=2"]
    recipe = shrunk(source, *overrides, "policy.language.max_new_tokens=8")
    measured = curve(recipe)
    assert len(measured) == STEPS and all(line["grad_norm"] > 0 for line in measured)


if __name__ == "__main__":
    for path in OFFLINE:
        lines = ",\n ".join(json.dumps(line) for line in curve(shrunk(path)))
        (GOLDEN / f"{path.stem}.json").write_text(f"[{lines}]\n")
        print(GOLDEN / f"{path.stem}.json")
