"""The recipes of handwriting need fonts and a reader: here they take two steps a phase with stand-ins."""

import json

import pytest

from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig
from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import shipped, to_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from tests.recipe.test_shipped import BRIGHTNESS
from tests.support.fonts import font_folder
from tests.support.training import gap_room

pytest.importorskip("diffusers")

pytestmark = pytest.mark.slow
MODEL = "policy.flow.model.one_dm"


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handwriting")
    fonts = font_folder(folder / "fonts", ("a", "b", "c"))
    CtcReader(ReaderConfig(height=16, channels=(4, 8), hidden_size=8)).save(folder / "reader")
    return fonts, folder / "reader"


def shrunk(name, fonts, *overrides):
    small = [f"{MODEL}.{key}={value}" for key, value in (("hidden_size", 16), ("heads", 2))]
    changes = [*small, f"{MODEL}.channels=[8, 8]", f"{MODEL}.font={fonts / 'a.ttf'}", "policy.flow.steps=6"]
    changes += ["evaluate=null", "policy.flow.device=cpu", "stop_on_alarm=false"]
    recipe, _ = load_recipe(shipped()[name], changes)
    for phase in recipe.phases:
        changes += [f"phases.{phase}.steps=2", f"phases.{phase}.plan.groups=4"]
        data = f"phases.{phase}.plan.data.handwriting_fonts"
        changes += [f"{data}.folder={fonts}", f"{data}.size=24"]
    return load_recipe(shipped()[name], [*changes, *overrides])[0]


def trained(recipe, folder):
    run = Run(recipe, folder, show=Show(quiet=True))
    run.train()
    return run


def test_both_stages_by_reward_back_propagation(stand_ins, tmp_path):
    fonts, reader = stand_ins
    shipped_terms = load_recipe(shipped()["one_dm"])[0].phases["read"].objective
    told = json.loads(json.dumps([to_recipe(term) for term in shipped_terms]))
    told[2]["reward_backprop"]["judge"]["reader"]["folder"] = str(reader)
    change = f"phases.read.objective={json.dumps(told)}"
    history = trained(shrunk("one_dm", fonts, change), tmp_path / "run").history
    assert [line["phase"] for line in history] == ["denoise"] * 2 + ["read"] * 2
    assert all(line["grad_norm"] > 0 and line["contrast"] > 0 and line["nll"] > 0 for line in history)
    assert "hinge/closed_ratio" in history[2]


@pytest.mark.parametrize("tree", [False, True])
def test_the_second_stage_as_grpo_and_as_branchgrpo(stand_ins, tmp_path, tree):
    fonts, reader = stand_ins
    # a reader that learned nothing says the same of all pictures: brightness beside it tells them apart
    changes = [f"phases.grpo.judge=[{{reader: {{folder: {reader}}}}}, '{BRIGHTNESS}']"]
    changes += ["phases.grpo.plan.count.uniform.n=4"]
    if tree:
        changes += ["phases.grpo.plan.dress=[{fork: {steps: [0, 2], factor: 2}}]"]
        changes += ["phases.grpo.credit=[tree]"]
    run = trained(shrunk("one_dm_grpo", fonts, *changes), tmp_path / "run")
    history = run.history
    assert [line["phase"] for line in history] == ["denoise"] * 2 + ["grpo"] * 2
    assert all(line["grad_norm"] > 0 for line in history)
    assert max(line["sampling/logprob_gap_max"] for line in history[2:]) <= gap_room(run, "grpo")
