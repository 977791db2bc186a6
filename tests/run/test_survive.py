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
from oneloop.run.checkpoint import checkpoints
from oneloop.run.progress import Show
from oneloop.run.run import IDS, Run
from tests.support.training import assert_equal, lines, outcome, recipe, train

STEPS = 11


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


STOPS = [("step", number) for number in range(1, STEPS + 1)] + [("says", 2), ("says", 4), ("tokens", 40)]


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
        assert storage.read_state(path / "loop")["step"] == int(path.name.removeprefix("checkpoint-"))
        assert load_file(path / "model.safetensors")
    assert checkpoints(directory) == sorted(
        directory.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-"))
    )
    for path in directory.glob("journal/*/ask-*"):
        assert storage.read_state(path)
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


def assert_every_judged_rollout_is_written(directory: Path) -> None:
    """Ids of each phase count up from its first without a gap, but for those in flight at the end."""
    tables = [pq.read_table(path).to_pylist() for path in sorted(directory.glob("rollouts/*.parquet"))]
    rows = [(row["phase"], row["id"]) for table in tables for row in table]
    assert len(rows) == len(set(rows)), "no rollout twice"
    numbers = sorted(number - IDS for phase, number in rows if phase == "reinforce")
    plan = storage.read_state(checkpoints(directory)[-1] / "loop")
    assert plan["phase"] == 2
    in_flight = 6 * 4
    assert len(numbers) >= numbers[-1] + 1 - in_flight
    trained = [row for table in tables for row in table if row["trained"] and row["phase"] == "reinforce"]
    assert len(trained) == 7 * 2 * 4


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
    with pytest.raises(FileExistsError, match="holds a run already; continue it with --resume"):
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


def test_metrics_shorter_than_the_checkpoint_says_are_an_error(tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(), directory, False, StopAt(5, "step")).train()
    count = len(lines(directory))
    (directory / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"metrics.jsonl has 0 lines, but the checkpoint was saved after \d"):
        train(directory, resume=True)
    assert count > 4
