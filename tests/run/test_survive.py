"""Stopped, killed or out of disk at any moment: what follows equals the run left alone, to the bit."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from oneloop.core import storage
from oneloop.engines.slots import SlotEngine
from oneloop.run import writer
from oneloop.run.active_phase import IDS
from oneloop.run.checkpoint import checkpoints
from oneloop.run.progress import Show
from oneloop.run.run import PartQuit, Run
from tests.support.training import assert_equal, lines, outcome, recipe, train


class Stop(Exception):
    """Somebody stops the run."""


class StopAt(Show):
    """Stops the run at the n-th thing it shows: a step, an evaluation, or tokens being sampled."""

    def __init__(self, number: int, what: str):
        super().__init__(quiet=True)
        self.left, self.what = number, what

    def _count(self, what: str) -> None:
        self.left -= what == self.what
        if self.left == 0 and what == self.what:
            raise Stop

    def step(self, values):
        self._count("step")

    def says(self, sentence):
        self._count("says")

    def tokens(self, tokens, finished):
        self._count("tokens")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run left alone."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory)
    return outcome(directory)


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


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train(tmp_path / "run")
    before = outcome(tmp_path / "run")
    train(tmp_path / "run", resume=True)
    assert_equal(before, outcome(tmp_path / "run"))


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


# killed


class Killer:
    """Speaks to `tests/support/killable.py`."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killable"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, directory, **order):
        self.process.stdin.write(json.dumps({"directory": str(directory), **order}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def killer():
    made = Killer()
    yield made
    made.process.stdin.close()
    made.process.wait(30)


def assert_nothing_corrupt(directory: Path) -> None:
    """Whatever has a final name is whole."""
    for path in checkpoints(directory):
        storage.check_folder(path)
        assert storage.read_state(path / "loop")["step"] == int(path.name.removeprefix("checkpoint-"))
        assert load_file(path / "model.safetensors")
    assert checkpoints(directory) == sorted(
        directory.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-"))
    )
    for path in directory.glob("journal/*/ask-*"):
        assert storage.read_entry(path)
    for path in directory.glob("rollouts/*.parquet"):
        pq.read_table(path)


def test_killed_at_twenty_moments_and_resumed(whole, killer, tmp_path):
    draw, kills = random.Random(3), 0
    left_alone = killer.run(tmp_path / "alone")
    assert left_alone["error"] is None
    assert_equal(whole, outcome(tmp_path / "alone"))
    assert left_alone["events"] > 200
    while kills < 20:
        directory = tmp_path / f"run-{kills}"
        while True:
            by_time = draw.random() < 0.3
            moment = (
                {"seconds": draw.uniform(0.0, 0.8)}
                if by_time
                else {"event": draw.randint(1, left_alone["events"] // 2)}
            )
            said = killer.run(directory, **moment)
            assert said["error"] is None, said
            if said["status"] == 0:
                break
            assert said["status"] == -9
            kills += 1
            assert_nothing_corrupt(directory)
        assert_equal(whole, outcome(directory))
        assert_every_judged_rollout_is_written(directory)


def assert_every_judged_rollout_is_written(directory: Path, in_flight: int = 6 * 4) -> None:
    """Ids of each phase count up from its first without a gap, but for those in flight at the end."""
    tables = [pq.read_table(path).to_pylist() for path in sorted(directory.glob("rollouts/*.parquet"))]
    rows = [(row["phase"], row["id"]) for table in tables for row in table]
    assert len(rows) == len(set(rows)), "no rollout twice"
    numbers = sorted(number - IDS for phase, number in rows if phase == "reinforce")
    plan = storage.read_state(checkpoints(directory)[-1] / "loop")
    assert plan["phase"] == 2
    assert len(numbers) >= numbers[-1] + 1 - in_flight
    trained = [row for table in tables for row in table if row["trained"] and row["phase"] == "reinforce"]
    assert len(trained) == 7 * 2 * 4


def test_killed_while_it_samples_ahead_and_resumed(killer, tmp_path):
    options = {"runtime": {"ahead": 1}}
    left_alone = killer.run(tmp_path / "alone", options=options)
    assert left_alone["error"] is None
    whole, draw, kills = outcome(tmp_path / "alone"), random.Random(4), 0
    while kills < 5:
        directory = tmp_path / f"run-{kills}"
        while True:
            said = killer.run(directory, event=draw.randint(1, left_alone["events"] // 2), options=options)
            assert said["error"] is None, said
            if said["status"] == 0:
                break
            kills += 1
            assert_nothing_corrupt(directory)
        assert_equal(whole, outcome(directory))


def test_killed_in_completion_order_nothing_is_lost_or_doubled(killer, tmp_path):
    options = {"runtime": {"ahead": 2, "order": "completion", "samplers": 2}}
    for number, event in enumerate((90, 140)):
        directory = tmp_path / f"run-{number}"
        assert killer.run(directory, event=event, options=options)["status"] == -9
        assert_nothing_corrupt(directory)
        assert killer.run(directory, options=options)["error"] is None
        assert_every_judged_rollout_is_written(directory, in_flight=(6 + 2 * 2) * 4)


# the disk is full


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_from(call: int, function):
    """`function`, which fails for want of space from its n-th call on."""
    calls = iter(range(1, 10**9))
    return lambda *args, **kwargs: full() if next(calls) >= call else function(*args, **kwargs)


@pytest.mark.parametrize("where", ["save_file", "os.fsync", "write_text"])
def test_a_full_disk_leaves_the_checkpoint_before_usable(monkeypatch, tmp_path, whole, where):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(9, "step")).train()
    saved = [path.name for path in checkpoints(directory)]
    with monkeypatch.context() as patch:
        if where == "save_file":
            patch.setattr(storage, "save_file", full)
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


def test_a_file_that_cannot_be_written_whole(killer, tmp_path, whole):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(9, "step")).train()
    saved = [path.name for path in checkpoints(directory)]
    said = killer.run(directory, largest_file=20_000)  # weights and optimiser have more, nothing else has
    assert said["error"].startswith("OSError: cannot save") and "--resume" in said["error"], said
    assert [path.name for path in checkpoints(directory)] == saved
    assert_nothing_corrupt(directory)
    assert killer.run(directory)["error"] is None
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


# two at a time


@pytest.mark.parametrize("resume", [False, True])
def test_of_two_writers_one_is_refused_and_the_run_is_whole(whole, killer, tmp_path, resume):
    for number in range(4):
        directory = tmp_path / f"run-{number}"
        if resume:
            with pytest.raises(Stop):
                Run(recipe(), directory, False, StopAt(4 + number, "step")).train()
        said = killer.run(directory, writers=2, resume=resume)
        errors = [each["error"] for each in said if each["error"] is not None]
        refused = f"InUse: {directory} is being written by another run (host "
        late = f"FileExistsError: {directory} holds a run already"  # the other had ended by then
        assert len(errors) == 1 or (resume and not errors), said
        assert all(error.startswith((refused, late)) for error in errors), said
        assert_nothing_corrupt(directory)
        assert_equal(whole, outcome(directory))
        assert not list(directory.rglob("writer.lock"))


def test_a_killed_writer_does_not_hold_the_directory(killer, tmp_path):
    directory = tmp_path / "run"
    assert killer.run(directory, event=60)["status"] == -9
    assert (directory / "writer.lock").exists()
    with pytest.raises(Stop):
        Run(recipe(), directory, True, StopAt(2, "step")).train()
    assert not (directory / "writer.lock").exists()


def everything(directory: Path) -> list[str]:
    """Names of all files and folders."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize("left", ["delete_old", "forget", "merge"])
def test_what_a_kill_left_to_tidy_after_the_last_checkpoint_is_tidied_on_resume(tmp_path, monkeypatch, left):
    train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(writer, left, lambda *_: None)
        if left == "delete_old":
            patch.setattr("oneloop.run.checkpoint.delete_old", lambda *_: None)
        train(tmp_path / "run")
    train(tmp_path / "run", resume=True)
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")


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


class Heard(Show):
    """Draws nothing and remembers what was found."""

    def __init__(self):
        super().__init__(quiet=True)
        self.heard: list[str] = []

    def finding(self, level, sentence):
        self.heard.append(f"{level} {sentence}")


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_goes_on(whole, sampled, tmp_path, what):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(9, "step")).train()
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


def test_a_run_all_of_whose_checkpoints_are_damaged_is_left_as_it_is(tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(9, "step")).train()
    for folder in checkpoints(directory):
        flip(folder / "model.safetensors", -5)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(
        storage.Damaged, match="every checkpoint of .* is damaged: model.safetensors in checkpoint-8"
    ):
        train(directory, resume=True)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_a_damaged_journal_is_said_and_asked_again(whole, tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(9, "step")).train()
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
