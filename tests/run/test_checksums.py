"""What a run has recorded is never silently another thing when it is resumed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from oneloop.core.storage import Damaged
from oneloop.recipe.recipe import load_recipe
from oneloop.run import checksums
from oneloop.run.checkpoint import checkpoints
from oneloop.run.progress import Show
from oneloop.run.record import Metrics, write_parquet
from oneloop.run.resuming import OtherRun
from oneloop.run.run import Run
from tests.support.training import assert_equal, outcome, recipe, train


class Stopped(Exception):
    """Somebody stops the run."""


class StopAfter(Show):
    """Stops the run after so many steps."""

    def __init__(self, steps: int):
        super().__init__(quiet=True)
        self.steps = steps

    def step(self, values):
        if values["step"] == self.steps:
            raise Stopped


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(the run left alone, one that was stopped after step 9; its checkpoints are 6 and 8)."""
    folder = tmp_path_factory.mktemp("stopped")
    train(folder / "whole")
    with pytest.raises(Stopped):
        Run(recipe(), folder / "run", False, StopAfter(9)).train()
    return outcome(folder / "whole"), folder / "run"


@pytest.fixture
def run(stopped, tmp_path):
    return Path(shutil.copytree(stopped[1], tmp_path / "run"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def resumed(directory: Path, accept: bool = False) -> list[str]:
    """What a resumed run says."""
    show, heard = Show(quiet=True), list[str]()
    show.finding = lambda level, sentence: heard.append(f"{level} {sentence}")
    show.says = heard.append
    Run(recipe(), directory, True, show, accept).train()
    return heard


RECORDED = ["step-000001", "step-000008"]


@pytest.mark.parametrize(
    "name", [*(f"rollouts/{step}.parquet" for step in RECORDED), "held_out/warm-greedy.parquet"]
)
def test_a_recorded_file_that_is_damaged_or_gone_is_refused_or_accepted_in_words(run, name):
    flip(run / name)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(Damaged, match=rf"{name} is not what was written \(checksum\); bring back a copy, or"):
        resumed(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (run / name).unlink()
    with pytest.raises(Damaged, match=f"{name} is missing; bring back"):
        resumed(run)
    assert f"warn {run / name} is missing" in resumed(run, accept=True)
    assert not [words for words in resumed(run) if "missing" in words], "it is said once"


@pytest.mark.parametrize("folder", checksums.FOLDERS)
def test_every_folder_of_records_is_checked_as_far_as_no_resume_writes_it_again(tmp_path, folder):
    path = tmp_path / folder / "step-000004.parquet"
    write_parquet(path, [{"step": 4}])
    assert checksums.verify(tmp_path, 4, [], accept=False) == []
    flip(path)
    assert checksums.verify(tmp_path, 3, [], accept=False) == []
    with pytest.raises(Damaged, match=rf"{folder}/step-000004.parquet is not what was written"):
        checksums.verify(tmp_path, 4, [], accept=False)


def test_a_file_that_a_resume_writes_again_is_not_checked(stopped, run):
    flip(run / "rollouts/step-000009.parquet")
    resumed(run)
    assert_equal(stopped[0], outcome(run))


def test_damaged_checksums_are_said_and_accuse_nobody(stopped, run):
    flip(run / "rollouts/SHA256SUMS")
    said = [words for words in resumed(run) if "SHA256SUMS" in words]
    assert len(said) == 1 and "is damaged, so whether the files beside it are as they were" in said[0]
    assert_equal(stopped[0], outcome(run))
    (run / "rollouts/SHA256SUMS").unlink()
    assert resumed(run)


def test_sha256sum_reads_the_file(run):
    folders = [run / folder for folder in checksums.FOLDERS if (run / folder).is_dir()]  # text has no gallery
    assert run / "rollouts" in folders
    for folder in folders:
        subprocess.run(["sha256sum", "--check", "--quiet", checksums.NAME], cwd=folder, check=True)


def test_a_step_that_was_merged_into_another_file_is_not_missing(tmp_path):
    folder = tmp_path / "rollouts"
    for name in ("step-000001.parquet", "step-000002.parquet", "steps-000001-000002.parquet"):
        write_parquet(folder / name, [{"step": 1}])
    (folder / "step-000002.parquet").unlink()  # killed between deleting and forgetting it
    assert checksums.verify(tmp_path, 2, (), False) == []
    (folder / "steps-000001-000002.parquet").unlink()
    with pytest.raises(Damaged, match="step-000002.parquet is missing"):
        checksums.verify(tmp_path, 2, (), False)


def test_a_changed_line_of_metrics_is_refused_or_accepted_in_words(run):
    path = run / "metrics.jsonl"
    path.write_text(re.sub(r'"num_tokens": (\d)', r'"num_tokens": 1\1', path.read_text(), count=1))
    with pytest.raises(Damaged, match=r"metrics.jsonl is not what was written in its first \d+ lines; bring"):
        resumed(run)
    assert any("metrics.jsonl is not what was written" in words for words in resumed(run, accept=True))


def test_metrics_after_the_checkpoint_may_be_anything(stopped, run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{}\n{"kind": "step"}\n')
    resumed(run)
    assert_equal(stopped[0], outcome(run))


def test_the_sum_of_metrics_goes_on_after_a_cut(tmp_path):
    one, other = Metrics(tmp_path / "one.jsonl"), Metrics(tmp_path / "other.jsonl")
    for number in range(4):
        one.write(kind="step", number=number)
    other.write(kind="step", number=0)
    one.truncate(1)
    assert one.state_dict() == other.state_dict() and one.sound(**other.state_dict())
    one.write(kind="step", number=7)
    assert one.sound(**other.state_dict()) and not other.sound(1, one.state_dict()["lines_sha256"])


def test_a_recipe_that_was_edited_in_the_run_is_refused(run):
    path = run / "recipe.yaml"
    for _ in ("with checkpoints", "without"):
        text = path.read_text()
        path.write_text(text.replace("learning_rate: 0.003", "learning_rate: 0.004"))
        with pytest.raises(
            OtherRun, match="recipe.yaml was edited: it is not the recipe that the run was made"
        ):
            Run(load_recipe(path)[0], run, True, Show(quiet=True)).train()
        path.write_text(text)
        for folder in checkpoints(run):
            shutil.rmtree(folder)


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}\n", b"[1]\n", b"a: [\n", b"\0"])
def test_a_damaged_recipe_of_the_run_is_refused(run, content):
    (run / "recipe.yaml").write_bytes(content)
    with pytest.raises(OtherRun, match="recipe.yaml is damaged: .*; put a copy of the run's recipe in its"):
        resumed(run)


def test_a_copy_of_a_checkpoint_under_another_number_is_none(stopped, run):
    shutil.copytree(run / "checkpoint-6", run / "checkpoint-10")
    (run / "checkpoint-11").write_text("a file of somebody's")
    said = [words for words in resumed(run) if "checkpoint-10" in words]
    assert len(said) == 1 and "checkpoint-10 is a copy of checkpoint-6; going on from checkpoint-8" in said[0]
    assert_equal(stopped[0], outcome(run))
