"""Run directories that are missing, incomplete or damaged are refused in words; a torn last line is not."""

import json

import pytest

from oneloop.report import RunDirectoryError, write_report
from oneloop.report.run_directory import finite, read_run
from tests.report.made_up_run import write_run


def test_reads_what_was_written(finished_run):
    run = read_run(finished_run)
    assert (len(run.steps), len(run.evals), len(run.doctor)) == (100, 12, 1)
    assert run.phases == [("sft", 1, 40), ("grpo", 41, 100)]
    assert run.summary["time"] == 121.0 and run.remarks == ()
    assert run.environment["torch"] == "2.13.0" and run.recipe.startswith("phases:")


def test_a_missing_directory_names_its_neighbours(finished_run):
    with pytest.raises(
        RunDirectoryError, match=r"no run directory at .*Run directories beside it: quickstart-seed0"
    ):
        read_run(finished_run.parent / "quickstrat-seed0")


def test_missing_files_are_named_all_at_once(tmp_path):
    (tmp_path / "recipe.yaml").write_text("a: 1")
    with pytest.raises(RunDirectoryError, match=r"it lacks metrics\.jsonl, environment\.json"):
        read_run(tmp_path)


def write_metrics(folder, text):
    run = write_run(folder / "run", rollout_steps=range(0))
    (run / "metrics.jsonl").write_text(text)
    return run


STEP = json.dumps({"kind": "step", "phase": "grpo", "step": 1, "reward": 0.5})


def test_a_torn_last_line_is_left_out_and_mentioned(tmp_path):
    run = read_run(write_metrics(tmp_path, f'{STEP}\n{{"kind":"step","pha'))
    assert len(run.steps) == 1
    assert any("last line of metrics.jsonl breaks off" in remark for remark in run.remarks)
    assert any("wrote no summary" in remark for remark in run.remarks)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{STEP}\nnonsense\n{STEP}\n", r"damaged at line 2: .*Got 'nonsense'"),
        (
            f'{STEP}\n{{"kind":"stepp"}}\n',
            r"line 2: `kind` must be one of step, eval, budget, doctor, summary, got 'stepp'",
        ),
        ("[1]\n", r"line 1: `kind` must be one of .* got 'list'"),
        ('{"kind":"step","step":1}\n', r"line 1: a step record lacks phase"),
        ('{"kind":"eval","phase":"grpo"}\n', r"a eval record lacks when"),
    ],
)
def test_damaged_metrics_name_the_line(tmp_path, text, words):
    with pytest.raises(RunDirectoryError, match=words):
        read_run(write_metrics(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "words"), [("{", r"environment\.json is damaged"), ("[]", r"must hold a JSON object, got list")]
)
def test_damaged_environment(tmp_path, text, words):
    run = write_run(tmp_path / "run", rollout_steps=range(0))
    (run / "environment.json").write_text(text)
    with pytest.raises(RunDirectoryError, match=words):
        read_run(run)


def test_text_that_is_not_utf8(tmp_path):
    run = write_run(tmp_path / "run", rollout_steps=range(0))
    (run / "recipe.yaml").write_bytes(b"ab\xff")
    with pytest.raises(RunDirectoryError, match=r"recipe\.yaml is damaged: not UTF-8 at byte 2"):
        read_run(run)


def test_a_damaged_directory_leaves_the_last_report_alone(tmp_path):
    run = write_run(tmp_path / "run", rollout_steps=range(41, 43))
    page = write_report(run).read_text()
    (run / "rollouts" / "step-000041.parquet").write_bytes(b"not parquet")
    with pytest.raises(
        ValueError, match=r"step-000041\.parquet is damaged .*Remove it to report the other steps"
    ):
        write_report(run)
    assert (run / "report.html").read_text() == page
    assert not list(run.glob("*.tmp"))


def test_finite_readings():
    record = {"a": 1, "b": float("nan"), "c": None, "d": "1"}
    assert [finite(record, name) for name in "abcde"] == [1.0, None, None, None, None]
