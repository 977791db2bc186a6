"""Whole runs with pictures go on to the bit when resumed; the record and the report show the pictures."""

import base64
import json

import pyarrow.parquet as pq
import pytest

from oneloop.recipe.recipe import load_recipe
from oneloop.report.page import write_report
from oneloop.run.progress import Show
from oneloop.run.run import Run

TINY = {"small_llava": {"hidden_size": 16, "layers": 1, "heads": 2, "image_size": 16, "patch_size": 4}}
FLEXIBLE = {"flexible_llava": {"num_image_tokens": 16, "model": TINY}}
LIKENESS = "tests/support/toy_parts.py:Likeness"


def recipe(model, lora=None, dress=()):
    grpo = {
        "plan": {
            "data": {"picture_questions": {"image_size": 16}},
            "groups": 3,
            "count": {"uniform": {"n": 3}},
            "dress": list(dress),
        },
        "judge": [LIKENESS],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
        "learner": {"learning_rate": 1e-2},
        "steps": 4,
    }
    warm = {
        "sample": "demonstrations",
        "plan": {"data": {"picture_questions": {"image_size": 16}}, "groups": 4, "dress": list(dress)},
        "objective": ["supervised"],
        "steps": 2,
    }
    policy = {"model": model, "max_new_tokens": 4, "freeze_vision": False}
    if lora:
        policy["lora"] = lora
    return load_recipe(
        {
            "name": "pictures",
            "policy": {"vision_language": policy},
            "phases": {"warm": warm, "grpo": grpo},
            "save_every": 2,
        }
    )[0]


def lines(folder):
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line.get("reward")) for line in read if "loss" in line]


class Stop(Exception):
    """Ends a run in the middle."""


@pytest.mark.parametrize(
    "options",
    [
        {"model": TINY},
        {"model": TINY, "lora": {"rank": 2}},
        {"model": FLEXIBLE, "dress": [{"draw_budget": {"column": "image_tokens", "choices": [1, 4, 16]}}]},
    ],
    ids=["whole", "lora", "budgets"],
)
def test_a_resumed_run_is_the_same_to_the_bit(options, tmp_path):
    whole = Run(recipe(**options), tmp_path / "whole", show=Show(quiet=True))
    whole.train()
    cut = Run(recipe(**options), tmp_path / "cut", show=Show(quiet=True))
    updated = cut.policy.updated
    seen = []

    def stopping():
        seen.append(0)
        if len(seen) == 5:
            raise Stop
        updated()

    cut.policy.updated = stopping
    with pytest.raises(Stop):
        cut.train()
    Run(recipe(**options), tmp_path / "cut", show=Show(quiet=True), resume=True).train()
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert any(reward not in (None, 0) for _, _, reward in lines(tmp_path / "whole"))


def test_the_record_and_the_report_show_the_picture(tmp_path):
    dress = [{"draw_budget": {"column": "image_tokens", "choices": [1, 4, 16]}}]
    Run(recipe(FLEXIBLE, dress=dress), tmp_path / "run", show=Show(quiet=True)).train()
    rows = [
        row
        for file in sorted((tmp_path / "run" / "rollouts").rglob("*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]
    assert all(base64.b64decode(row["shown"]).startswith(b"\x89PNG") for row in rows)
    assert all(row["prompt"].startswith("user: <image>") for row in rows)
    counts = {}
    for row in rows:
        counts.setdefault((row["phase"], row["group"]), set()).add(row["image_tokens"])
    assert all(len(each) == 1 for each in counts.values())
    assert set().union(*counts.values()) <= {1, 4, 16} and len(set().union(*counts.values())) > 1
    page = write_report(tmp_path / "run").read_text()
    assert rows[-1]["shown"] in page
