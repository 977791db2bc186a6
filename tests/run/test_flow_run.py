"""Runs of flow policies: trained, stopped and resumed to the bit, recorded with images and without
latents."""

import io
import math
from pathlib import Path

import pyarrow.parquet as pq

from oneloop.core.rooms import find
from oneloop.recipe.recipe import load_recipe
from oneloop.report import write_report
from tests.support.training import assert_equal, cut_while_judging, gap_room, outcome, run_quietly

JUDGE = f"{Path(__file__).parents[1] / 'support' / 'toy_parts.py'}:Brightness"


def raw(**changes):
    branch = {
        "plan": {
            "data": "digits",
            "groups": 2,
            "count": {"uniform": {"n": 4}},
            "dress": [
                {"fork": {"steps": [0, 2]}},
                {"window": {"size": 2, "first": 2, "last": 3, "every": 1}},
            ],
        },
        "judge": [JUDGE],
        "credit": ["tree"],
        "select": ["prune"],
        "objective": [
            {"policy_gradient": {"clip_low": 0.01, "clip_high": 0.01}},
            {"gaussian_kl": {"coefficient": 0.1}},
        ],
        "learner": {"learning_rate": 0.001, "minibatches": 2},
        "steps": 5,
        **changes,
    }
    warm = {
        "plan": {"data": "digits", "groups": 8},
        "sample": "demonstrations",
        "objective": ["flow_matching"],
        "learner": {"learning_rate": 0.001},
        "steps": 3,
    }
    policy = {"flow": {"model": {"flow_mlp": {"hidden_size": 16, "layers": 1}}, "steps": 6}}
    evaluate = {"data": {"digits": {"split": "test"}}, "judge": [JUDGE], "size": 4, "samples": 2}
    return {
        "policy": policy,
        "phases": {"warm": warm, "branch": branch},
        "evaluate": evaluate,
        "save_every": 2,
        "seed": 3,
    }


def train(directory, resume=False, **changes):
    return run_quietly(load_recipe(raw(**changes))[0], directory, resume)


def test_it_learns_and_the_first_ratios_are_one(whole_run):
    run = whole_run
    branch = [line for line in run.history if line["phase"] == "branch"]
    assert max(line["sampling/logprob_gap_max"] for line in branch) <= gap_room(run, "branch")
    assert all(line["grad_norm"] > 0 for line in run.history)
    assert all("nll" in line and "sampling/logprob_gap_max" not in line for line in run.history[:3])
    assert branch[0]["kl"] >= 0 and branch[-1]["kl"] > 0
    assert not [finding for finding in run.findings if finding.level == "alarm"]


def test_stopped_and_resumed_it_is_the_same_to_the_bit(whole, tmp_path):
    resumed = cut_while_judging(train, tmp_path / "run", find("judge", JUDGE), step=3)
    assert_equal(resumed, outcome(whole))


def test_the_record_has_images_and_no_latents(whole):
    from PIL import Image

    table = pq.read_table(whole / "rollouts" / "step-000005.parquet")
    assert {"image", "prompt", "tree", "branch", "reward", "advantage", "share"} <= set(table.column_names)
    assert not {"latent", "start", "output", "token"} & set(table.column_names)
    row = table.to_pylist()[0]
    image = Image.open(io.BytesIO(row["image"]))
    assert image.size == (8, 8) and image.mode == "L" and len(row["advantage"]) == 5
    assert sum(share for share in row["share"]) <= 4 and any(math.isnan(x) or x <= 0 for x in row["logprob"])


def test_the_report_is_written(whole):
    assert write_report(whole).read_text().startswith("<!")


def test_a_reward_function_on_images(tmp_path):
    """In flow_grpo's convention: it is shown pixels of 0 to 255."""
    file = tmp_path / "mine.py"
    file.write_text(
        "def bright(images, prompts):\n    return [float(image.mean()) / 255 for image in images]\n"
    )
    run = train(tmp_path / "run", judge=[{"function": {"path": f"{file}:bright"}}], steps=1)
    assert 0 < run.history[-1]["reward"] < 1
