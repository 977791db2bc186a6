"""compare.py and measure/paired.py: the same seeds for all, nothing run twice, intervals of differences."""

import io
import json
import math
import weakref

import numpy as np
import pytest
import yaml
from rich.console import Console
from scipy.stats import norm

from oneloop.measure.statistics.paired import paired_bootstrap
from oneloop.recipe.reading import RecipeError
from oneloop.report.compare_table import compare_table
from oneloop.run import compare as comparing
from oneloop.run.compare import CompareOptions, compare, compare_options, load_all
from oneloop.run.log import Log
from oneloop.run.progress import Show
from oneloop.sample.policies.language import Language
from tests.cli.test_main import TINY
from tests.run.test_flow_run import raw as raw_flow


def quiet(title):
    return Show(Console(quiet=True))


@pytest.fixture
def recipes(tmp_path):
    """Two recipes of one step."""
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path, scale in zip(paths, ("group", "none"), strict=True):
        path.write_text(yaml.safe_dump(TINY | {"credit": [{"group_relative": {"scale": scale}}], "steps": 1}))
    return paths


def test_the_interval_of_a_constant_difference_is_that_difference():
    assert paired_bootstrap([3.0, 4.0, 9.0], [1.0, 2.0, 7.0]) == (2.0, 2.0, 2.0)


def test_pairing_takes_out_what_a_seed_does_to_both():
    draw = np.random.default_rng(0)
    luck, effect = draw.normal(0, 10, 40), draw.normal(1, 0.1, 40)
    mean, low, high = paired_bootstrap(luck + effect, luck)
    assert low < 1.0 < high and high - low < 0.1 and mean == pytest.approx(effect.mean())


def test_the_interval_agrees_with_the_normal_one_for_many_seeds():
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    mean, low, high = paired_bootstrap(values, np.zeros(400))
    half = norm.ppf(0.975) * values.std() / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.01)


def test_one_pair_has_no_interval_and_none_is_refused():
    mean, low, high = paired_bootstrap([2.0], [1.0])
    assert mean == 1.0 and math.isnan(low) and math.isnan(high)
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_bootstrap([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="got 0 and 0"):
        paired_bootstrap([], [])


def found_in(folder):
    return json.loads((folder / "compare.json").read_text())


SMALL = ["evaluate.size=4", "evaluate.samples=2"]


def test_seeds_are_interleaved_and_finished_runs_are_kept(recipes, tmp_path, monkeypatch):
    order, models = [], []
    train, opened = comparing.Run.train, Language.open

    def opening(policy):
        made = opened(policy)
        assert not [model for model in models if model() is not None], "models of runs that are over"
        models.append(weakref.ref(made.model))
        return made

    monkeypatch.setattr(Language, "open", opening)
    monkeypatch.setattr(comparing.Run, "train", lambda self: (order.append(self.directory.name), train(self)))
    found = compare(recipes, SMALL, CompareOptions(2), tmp_path / "out", quiet)
    assert order == ["a-seed0", "b-seed0", "a-seed1", "b-seed1"]
    assert [row["recipe"] for row in found["recipes"]] == ["a", "b"]
    assert found["recipes"][0]["spent"]["sampled_tokens"] > 0
    assert set(found["recipes"][1]["pass_at"]) == {"1", "2"} == set(found["recipes"][1]["maj_at"])
    assert {row["model"] for row in found["ranking"]} == set(order)
    assert found_in(tmp_path / "out") == json.loads(json.dumps(found))
    assert compare(recipes, SMALL, CompareOptions(2), tmp_path / "out", quiet) == found and len(order) == 4
    with pytest.raises(FileExistsError, match="is not the recipe given"):
        compare(recipes, ["evaluate.size=3"], CompareOptions(2), tmp_path / "out", quiet)
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "Held-out accuracy" in page and "Ranking on single prompts" in page and "<script" not in page


def test_killed_and_started_again_it_goes_on(recipes, tmp_path, monkeypatch):
    whole = compare(recipes, [*SMALL, "steps=3"], CompareOptions(1), tmp_path / "whole", quiet)
    step = Log.write_step

    def killed(self, values):
        step(self, values)
        if self.directory.name == "b-seed0" and self.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Log, "write_step", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(recipes, [*SMALL, "steps=3", "save_every=1"], CompareOptions(1), tmp_path / "cut", quiet)
    monkeypatch.setattr(Log, "write_step", step)
    ran = []
    train = comparing.Run.train
    monkeypatch.setattr(comparing.Run, "train", lambda self: (ran.append(self.directory.name), train(self)))
    again = compare(recipes, [*SMALL, "steps=3", "save_every=1"], CompareOptions(1), tmp_path / "cut", quiet)
    assert ran == ["b-seed0"]
    for one, other in zip(whole["recipes"], again["recipes"], strict=True):
        assert one["sampled"] == other["sampled"] and one["pass_at"] == other["pass_at"]
        spent = [{k: v for k, v in row["spent"].items() if k != "seconds"} for row in (one, other)]
        assert spent[0] == spent[1]


def test_all_spend_the_budget_and_who_cannot_is_named(recipes, tmp_path):
    enough = CompareOptions(1, 20, "sampled_tokens", threshold=0.0)
    found = compare(recipes, [*SMALL, "steps=9", "evaluate.every=1"], enough, tmp_path / "a", quiet)
    spent = [row["spent"]["sampled_tokens"] for row in found["recipes"]]
    assert all(20 <= tokens < 20 + 16 for tokens in spent) and found["notes"] == []
    assert found["recipes"][0]["threshold"]["reached"] == 1
    short = compare(recipes, SMALL, CompareOptions(1, 1e9, "flops"), tmp_path / "b", quiet)
    assert len(short["notes"]) == 2 and "b ended after its 1 steps with" in short["notes"][1]
    assert "1e+09 flops spent" in short["notes"][1] and short["axis"] == "flops"


def test_flow_recipes_are_compared_at_equal_network_evaluations(tmp_path):
    paths = [tmp_path / "tree.yaml", tmp_path / "flat.yaml"]
    for path, dress in zip(paths, ([{"fork": {"steps": [0, 2]}}], []), strict=True):
        raw = raw_flow()
        raw["phases"]["branch"] |= {"credit": ["group_relative"], "select": [], "steps": 20}
        raw["phases"]["branch"]["plan"]["dress"] = dress
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
    found = compare(paths, [], CompareOptions(1, 500, "network_evaluations"), tmp_path / "out", quiet)
    for row in found["recipes"]:
        assert 500 <= row["spent"]["network_evaluations"] < 600 and row["sampled"]["score"][0] is not None
    assert not any("ended after" in note for note in found["notes"])
    assert found["axis"] == "network_evaluations"
    assert found["recipes"][0]["pass_at"] == {}, "nobody says correct"
    assert len(found["ranking"]) == 2


def test_the_table_is_for_people(recipes, tmp_path):
    found = compare(recipes, SMALL, CompareOptions(1), tmp_path / "out", quiet)
    found["recipes"][1]["sampled"]["difference"] = [0.1, None, None]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(compare_table(found))
    text = console.export_text()
    assert "+10.0" in text and "nan" not in text.lower() and "none" not in text.lower()


def test_faults_of_all_recipes_are_said_at_once(recipes, tmp_path):
    blind = tmp_path / "blind.yaml"
    blind.write_text(yaml.safe_dump({key: value for key, value in TINY.items() if key != "evaluate"}))
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(TINY | {"evaluate": TINY["evaluate"] | {"size": 5, "every": 2}}))
    with pytest.raises(RecipeError) as caught:
        load_all([*recipes, recipes[0], tmp_path / "none.yaml", blind, other], [], CompareOptions(1))
    duplicate, missing, unmeasured, differs = caught.value.faults
    assert duplicate.endswith("a.yaml: recipe.name: another recipe is called 'a' too")
    assert "none.yaml: cannot read the recipe" in missing
    assert unmeasured.endswith("blind.yaml: recipe.evaluate: is required, or there is nothing to compare")
    assert "other.yaml: recipe.evaluate.size: must be that of 'a'" in differs
    with pytest.raises(RecipeError, match="evaluate.every: must be set to find the threshold"):
        load_all(recipes, [], CompareOptions(1, threshold=0.5))


def test_a_unit_or_budget_that_is_none_is_a_sentence():
    with pytest.raises(ValueError, match="no unit 'sampled'; did you mean 'sampled_tokens'"):
        compare_options(1, 5.0, "sampled", None)
    with pytest.raises(ValueError, match="--budget: must be above 0 and finite, got 0"):
        compare_options(1, 0.0, "flops", None)
    assert compare_options(2, None, "flops", 0.5) == CompareOptions(2, None, "flops", 0.5)
