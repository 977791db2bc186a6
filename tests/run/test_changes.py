"""Resuming with other data, code or surroundings: refused or said, never silent."""

import contextlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import oneloop
from oneloop.recipe.recipe import load_recipe
from oneloop.run import changes
from oneloop.run.changes import Changed
from oneloop.run.run import Run
from tests.support.stopped import Heard, Stop, StopAt
from tests.support.training import assert_equal, outcome, raw_recipe, recipe

REWARD = """
def right(prompts, completions, answer, **_):
    told = zip(prompts, completions, answer)
    return [float(int(p.split("+")[0]) + 1 == int(a)) + len(c) / 100 for p, c, a in told]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reward.py").write_text(REWARD)
    write_rows(range(12))
    return tmp_path


def write_rows(numbers) -> None:
    rows = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in numbers]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def train(resume: bool, stop_at: int = 100, **options) -> Heard:
    raw = raw_recipe()["phases"]["reinforce"]
    raw |= {"judge": [{"function": {"path": "reward.py:right"}}], "steps": 8}
    raw["plan"] = {
        "data": {"hub": {"path": "rows.jsonl"}},
        "groups": 2,
        "in_flight": 4,
        "count": {"uniform": {"n": 2}},
    }
    made = load_recipe(raw_recipe(phases={"grpo": raw}, evaluate=None, save_every=1, name="sums"))[0]
    show = StopAt(stop_at, "step")
    show.finding = lambda level, sentence: heard.finding(level, sentence)
    heard = Heard()
    with contextlib.suppress(Stop):
        Run(made, Path("run"), resume, show, **options).train()
    return heard


def recorded(steps) -> list[dict]:
    return [row for n in steps for row in pq.read_table(f"run/rollouts/step-{n:06d}.parquet").to_pylist()]


@pytest.mark.parametrize("left", [range(1, 12), range(3)])
def test_other_rows_are_refused_and_when_accepted_no_rollout_answers_to_another_row(folder, left):
    train(False, 6)
    before = {path: path.read_bytes() for path in Path("run").rglob("*.safetensors")}
    write_rows(left)
    with pytest.raises(Changed) as refused:
        train(True)
    (sentence,) = refused.value.faults
    assert sentence.startswith(f"the data of phase 'grpo' has {len(left)} rows, and had 12; of ")
    assert "that rollouts in flight answer to" in sentence and sentence.endswith("with --accept-changes")
    assert {path: path.read_bytes() for path in Path("run").rglob("*.safetensors")} == before
    heard = train(True, accept_changes=True)
    assert any(words.startswith("warn the data of phase") and "dropped" in words for words in heard.heard)
    rows = [json.loads(line)["prompt"] for line in Path("rows.jsonl").read_text().splitlines()]
    after = recorded(range(7, 9))
    assert len(after) == 8 and all(row["prompt"] == rows[row["key"]] for row in after)


def test_a_row_that_was_edited_is_noticed(folder):
    train(False, 6)
    Path("rows.jsonl").write_text(Path("rows.jsonl").read_text().replace('"answer": "7"', '"answer": "8"'))
    with pytest.raises(Changed, match="the data of phase 'grpo' has other contents in its 12 rows"):
        train(True)


@pytest.mark.parametrize("steps", [6, 1])
def test_edited_code_is_refused_before_and_after_the_first_checkpoint(folder, steps):
    train(False, steps)
    Path("reward.py").write_text(REWARD.replace("+ 1 ==", "+ 2 =="))
    with pytest.raises(Changed, match="reward.py was edited after the checkpoint; put it back, or go on"):
        train(True)
    Path("reward.py").write_text(REWARD)
    train(True, 1)
    Path("reward.py").write_text(REWARD + "# a word\n")
    assert "warn reward.py was edited after the checkpoint" in train(True, accept_changes=True).heard
    train(True)  # and what was accepted is what the next checkpoint holds


def test_a_damaged_record_of_the_code_is_said(folder):
    train(False, 1)
    Path("run/journal/made_with.entry").write_bytes(b"\xff")
    heard = train(True, 1).heard
    assert "warn run/journal/made_with.entry is damaged: whether code has changed is not known" in heard


def test_other_threads_are_set_back_and_said(tmp_path, monkeypatch):
    now = torch.get_num_threads()
    monkeypatch.setattr(changes.os, "sched_getaffinity", lambda _: set(range(8)))
    try:
        with pytest.raises(Stop):
            Run(recipe(), tmp_path, False, StopAt(5, "step")).train()
        torch.set_num_threads(now + 1)
        show = Heard()
        Run(recipe(), tmp_path, True, show).train()
        assert torch.get_num_threads() == now
    finally:
        torch.set_num_threads(now)
    assert f"note threads set from {now + 1} to {now}, as before: sums round by their number" in show.heard
    monkeypatch.setattr(changes.os, "sched_getaffinity", lambda _: {0})
    assert changes.restored_threads({"threads": 64}).startswith(f"{now} threads where there were 64")
    assert torch.get_num_threads() == now


def test_other_versions_are_said(tmp_path, monkeypatch):
    with pytest.raises(Stop):
        Run(recipe(), tmp_path, False, StopAt(5, "step")).train()
    was = oneloop.__version__
    monkeypatch.setattr(oneloop, "__version__", "9.9")
    show = Heard()
    Run(recipe(), tmp_path, True, show).train()
    assert f"note oneloop 9.9 (was {was}): what follows may differ in its last bits" in "\n".join(show.heard)


def test_nothing_is_said_where_nothing_has_changed(folder):
    train(False)
    whole = outcome(Path("run"))
    Path("run").rename("whole")
    train(False, 5)
    assert not [words for words in train(True).heard if "threads" in words or "was " in words]
    assert_equal(whole, outcome(Path("run")))
