"""Stopped, damaged or out of disk at any moment: what follows equals the run left alone, to the bit."""

import errno
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from oneloop.core import storage
from oneloop.engines.slots import SlotEngine
from oneloop.run import writer
from oneloop.run.checkpoint import checkpoints
from oneloop.run.run import PartQuit, Run
from tests.support.stopped import Heard, Stop, StopAt, assert_every_judged_rollout_is_written
from tests.support.training import assert_equal, lines, outcome, recipe, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """The directory of the run left alone."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory)
    return directory


@pytest.fixture(scope="module")
def whole(left_alone):
    """What the run left alone comes to."""
    return outcome(left_alone)


@pytest.fixture(scope="module")
def after_nine(tmp_path_factory):
    """The directory of the run stopped after step 9, with checkpoints 6 and 8."""
    directory = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(9, "step")).train()
    return directory


@pytest.fixture
def stopped(after_nine, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(after_nine, tmp_path / "run"))


def test_two_runs_are_equal_to_the_bit_and_rollouts_were_in_flight(whole, tmp_path):
    train(tmp_path / "again", keep_checkpoints=100)
    again = outcome(tmp_path / "again")
    assert_equal(whole, again)
    states = [json.loads((path / "loop/state.json").read_text()) for path in checkpoints(tmp_path / "again")]
    plans = [state["plan"] for state in states if "plan" in state]
    assert any(plan["unfinished"] for plan in plans) and any(plan["ready"] for plan in plans)
    assert any(group["pieces"] for plan in plans for group in plan["groups"])


STOPS = [("step", number) for number in (1, 3, 4, 5, 8, 9, 11)] + [("says", 2), ("says", 4), ("tokens", 40)]
"""Before the first checkpoint, between two, at the end of a phase, after it, and so on to the end of the run;
while it says something, and while it samples."""


@pytest.mark.parametrize(("what", "number"), STOPS)
def test_stopped_anywhere_and_resumed(whole, tmp_path, what, number):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(number, what)).train()
    train(directory, resume=True)
    assert_equal(whole, outcome(directory))


def test_resuming_a_finished_run_changes_nothing(left_alone, whole, tmp_path):
    shutil.copytree(left_alone, tmp_path / "run")
    train(tmp_path / "run", resume=True)
    assert_equal(whole, outcome(tmp_path / "run"))


@pytest.fixture
def sampled(monkeypatch):
    """How often each request was sampled: {(key, tokens it began with): count}."""
    counts = Counter()
    generate = SlotEngine.generate

    def counted(self, requests, *rest):
        counts.update((request.key, len(request.partial)) for request in requests)
        return generate(self, requests, *rest)

    monkeypatch.setattr(SlotEngine, "generate", counted)
    return counts


@pytest.mark.parametrize("save_every", [4, 100])
def test_between_checkpoints_nothing_is_sampled_twice(sampled, tmp_path, save_every):
    options = {"save_every": save_every, "evaluate": None}
    train(tmp_path / "whole", **options)
    alone = Counter(sampled)
    assert sum(alone.values()) > 40
    sampled.clear()
    for number in (7, 6, 3):  # stops after steps 7, 10 (6 of which are done again from the journal), ...
        with pytest.raises(Stop):
            Run(recipe(**options), tmp_path / "run", number != 7, StopAt(number, "step")).train()
    train(tmp_path / "run", resume=True, **options)
    assert sampled == alone
    assert_equal(outcome(tmp_path / "whole"), outcome(tmp_path / "run"))


# the disk is full


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_from(call: int, function):
    """`function`, which fails for want of space from its n-th call on."""
    calls = iter(range(1, 10**9))
    return lambda *args, **kwargs: full() if next(calls) >= call else function(*args, **kwargs)


@pytest.mark.parametrize("where", ["save_file", "os.fsync", "write_text"])
def test_a_full_disk_leaves_the_checkpoint_before_usable(monkeypatch, stopped, whole, where):
    directory = stopped
    saved = [path.name for path in checkpoints(directory)]
    with monkeypatch.context() as patch:
        if where == "save_file":
            patch.setattr("safetensors.torch.save_file", full)
        elif where == "os.fsync":
            patch.setattr(os, "fsync", failing_from(8, os.fsync))
        else:
            patch.setattr(Path, "write_text", failing_from(1, Path.write_text))
        with pytest.raises(OSError, match="No space left on device"):
            train(directory, resume=True)
    assert [path.name for path in checkpoints(directory)] == saved
    assert not [path for path in directory.iterdir() if path.name.startswith(".checkpoint")]
    train(directory, resume=True)
    assert_equal(whole, outcome(directory))


def test_a_run_directory_is_never_overwritten_silently(tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(3, "step")).train()
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="holds a run already; go on with it"):
        train(directory)
    with pytest.raises(FileExistsError, match="is not the recipe given"):
        train(directory, resume=True, seed=6)
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    (other / "recipe.yaml").unlink()
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="holds metrics.jsonl, rollouts.* but no recipe.yaml"):
            train(other, resume=resume)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


# tidied


def everything(directory: Path) -> list[str]:
    """Names of all files and folders."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize("left", ["delete_old", "forget", "merge"])
def test_what_a_kill_left_to_tidy_after_the_last_checkpoint_is_tidied_on_resume(
    left_alone, tmp_path, monkeypatch, left
):
    with monkeypatch.context() as patch:
        patch.setattr(writer, left, lambda *_: None)
        if left == "delete_old":
            patch.setattr("oneloop.run.checkpoint.delete_old", lambda *_: None)
        train(tmp_path / "run")
    train(tmp_path / "run", resume=True)
    assert everything(tmp_path / "run") == everything(left_alone)


def test_what_killed_writers_left_is_swept_at_the_start(tmp_path):
    gone = 2**22 + 1  # beyond the largest process number of Linux
    left = [f".checkpoint-4.{gone}-ab.deleting", f".checkpoint-6.{gone}-ab.writing"]
    left += [
        f"journal/reinforce/.ask-00000001.entry.{gone}-ab.writing",
        f"rollouts/.x.parquet.{gone}-a.writing",
    ]
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(5, "step")).train()
    for name in left:
        (directory / name).mkdir(parents=True)
    with pytest.raises(Stop):
        Run(recipe(), directory, True, StopAt(2, "step")).train()
    assert not list(directory.rglob(".*"))


# damaged


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "weights": lambda folder: flip(folder / "model.safetensors", -5),
    "half the weights": lambda folder: os.truncate(folder / "model.safetensors", 999),
    "optimiser": lambda folder: flip(folder / "loop/tensors.safetensors", -5),
    "state": lambda folder: flip(folder / "loop/state.json", 40),
    "half the state": lambda folder: os.truncate(folder / "loop/state.json", 40),
    "configuration": lambda folder: flip(folder / "config.json", 40),
    "tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "checksums": lambda folder: (folder / "checksums.json").write_text("{"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_goes_on(whole, sampled, stopped, what):
    directory = stopped
    assert [path.name for path in checkpoints(directory)] == ["checkpoint-6", "checkpoint-8"]
    DAMAGES[what](directory / "checkpoint-8")
    for stray in ("checkpoint-9.bak", "journal/reinforce/ask-notes", "rollouts/step-x.txt"):
        (directory / stray).mkdir()
    sampled.clear()
    run = Run(recipe(), directory, True, Heard())
    run.train()
    (said,) = [words for words in run.show.heard if "checkpoint-8" in words]
    assert (
        said.startswith("warn ")
        and "going on from checkpoint-6 (the other is now checkpoint-8.damaged)" in said
    )
    assert_equal(whole, outcome(directory))
    assert (directory / "checkpoint-8.damaged").is_dir()
    assert_every_judged_rollout_is_written(directory)
    asked_again = [key for key, _ in sampled if key in rollouts_of(directory, range(7, 9))]
    assert not asked_again, "the journal remembers as far back as the oldest checkpoint"


def rollouts_of(directory: Path, steps) -> set[int]:
    return {
        row["id"]
        for step in steps
        for row in pq.read_table(directory / f"rollouts/step-{step:06d}.parquet").to_pylist()
    }


def test_a_run_all_of_whose_checkpoints_are_damaged_is_left_as_it_is(stopped):
    directory = stopped
    for folder in checkpoints(directory):
        flip(folder / "model.safetensors", -5)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(
        storage.Damaged, match="every checkpoint of .* is damaged: model.safetensors in checkpoint-8"
    ):
        train(directory, resume=True)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_a_damaged_journal_is_said_and_asked_again(whole, stopped):
    directory = stopped
    entry = sorted(directory.glob("journal/reinforce/ask-*"))[-1]
    flip(entry, -9)
    run = Run(recipe(), directory, True, Heard())
    run.train()
    (said,) = [words for words in run.show.heard if "ask-" in words]
    assert f"the journal's entry {entry.name} cannot be used" in said and "sampled and judged again" in said
    assert_equal(whole, outcome(directory))


def test_a_part_that_calls_exit_does_not_end_the_run_as_if_it_were_done(monkeypatch, tmp_path):
    made = recipe(evaluate=None)
    monkeypatch.setattr(type(made.phases["reinforce"].credit[0]), "__call__", lambda *_: sys.exit(0))
    with pytest.raises(PartQuit, match=r"a part of the recipe ended the run with sys.exit\(0\)"):
        Run(made, tmp_path / "run").train()


def test_metrics_shorter_than_the_checkpoint_says_are_an_error(tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(5, "step")).train()
    count = len(lines(directory))
    (directory / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"metrics.jsonl has 0 lines, but the checkpoint was saved after \d"):
        train(directory, resume=True)
    assert count > 4
