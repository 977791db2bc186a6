"""compare.py and measure/paired.py: the same seeds for all, nothing run twice, intervals of differences."""

import io
import json
import math

import numpy as np
import pytest
import yaml
from rich.console import Console
from scipy.stats import norm

from oneloop import compare as comparing
from oneloop.compare import compare, load_all, rows, table
from oneloop.measure.paired import paired_bootstrap
from oneloop.recipe import RecipeError
from oneloop.show import Show
from tests.test_cli import TINY


def quiet(title):
    return Show(Console(quiet=True))


@pytest.fixture
def recipes(tmp_path):
    """Two recipes of one step."""
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path, scale in zip(paths, ("group", "none"), strict=True):
        path.write_text(yaml.safe_dump(TINY | {"credit": [{"group_relative": {"scale": scale}}], "steps": 1}))
    return paths


def run(mode_values, cost=1.0):
    return {
        "greedy": mode_values,
        "sampled": mode_values / 2,
        "num_tokens": cost,
        "trained_tokens": cost,
        "time": cost,
    }


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


def test_rows_hold_means_differences_and_every_seed():
    first, second = rows({"a": [run(0.2), run(0.4)], "b": [run(0.5, 3.0), run(0.7, 5.0)]})
    assert first["difference"] == {} and first["greedy"] == pytest.approx(0.3)
    assert second["difference"]["greedy"] == pytest.approx([0.3, 0.3, 0.3])
    assert second["time"] == 4.0 and [seed["greedy"] for seed in second["seeds"]] == [0.5, 0.7]


def test_what_is_no_number_is_null_in_json_and_blank_in_the_table():
    found = rows({"a": [run(0.2)], "b": [run(float("nan"))], "c": [run(0.3)]})
    assert json.loads(json.dumps(found, allow_nan=False))[1]["greedy"] is None
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(found))
    text = console.export_text()
    assert "+10.0" in text and "nan" not in text.lower()


def test_seeds_are_interleaved_and_finished_runs_are_kept(recipes, tmp_path, monkeypatch):
    order = []
    train = comparing.Run.train
    monkeypatch.setattr(comparing.Run, "train", lambda self: (order.append(self.directory.name), train(self)))
    found = compare(recipes, ["evaluate.size=2"], 2, tmp_path / "out", quiet)
    assert order == ["a-seed0", "b-seed0", "a-seed1", "b-seed1"]
    assert [row["recipe"] for row in found] == ["a", "b"]
    assert set(found[1]["difference"]) == {"greedy", "sampled"} and found[0]["num_tokens"] > 0
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == json.loads(json.dumps(found))
    assert compare(recipes, ["evaluate.size=2"], 2, tmp_path / "out", quiet) == found and len(order) == 4
    with pytest.raises(FileExistsError, match="is not the recipe given"):
        compare(recipes, ["evaluate.size=3"], 2, tmp_path / "out", quiet)


def test_faults_of_all_recipes_are_said_at_once(recipes, tmp_path):
    blind = tmp_path / "blind.yaml"
    blind.write_text(yaml.safe_dump({key: value for key, value in TINY.items() if key != "evaluate"}))
    with pytest.raises(RecipeError) as caught:
        load_all([*recipes, recipes[0], tmp_path / "none.yaml", blind], [], 1)
    duplicate, missing, unmeasured = caught.value.faults
    assert duplicate.endswith("a.yaml: recipe.name: another recipe is called 'a' too")
    assert "none.yaml: cannot read the recipe" in missing
    assert unmeasured.endswith("blind.yaml: recipe.evaluate: is required, or there is nothing to compare")
