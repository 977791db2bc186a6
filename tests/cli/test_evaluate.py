"""`oneloop eval` of a run whose policy makes images: it measures what the run measured at its end."""

import json

from oneloop.recipe.recipe import load_recipe
from oneloop.run.record import read_lines
from tests.run.test_flow_run import raw
from tests.support.training import run_quietly


def test_a_run_of_images_is_measured_with_the_weights_it_ended_with(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_quietly(load_recipe(raw(steps=1))[0], tmp_path / "run")
    ends = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "eval"][-2:]
    code, _, err = oneloop("eval", "run", "--out", "found.json")
    assert code == 0, err
    found = json.loads((tmp_path / "found.json").read_text())["measured"]
    assert [each["mode"] for each in found] == [line["mode"] for line in ends] == ["greedy", "sampled"]
    assert [each["reward"] for each in found] == [line["reward"] for line in ends]
