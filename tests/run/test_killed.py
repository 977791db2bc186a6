"""Killed at any moment, or two at a time: what follows equals the run left alone, to the bit."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from oneloop.run.checkpoint import checkpoints
from oneloop.run.run import Run
from tests.support.stopped import (
    Stop,
    StopAt,
    assert_every_judged_rollout_is_written,
    assert_nothing_corrupt,
)
from tests.support.training import assert_equal, outcome, recipe, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run left alone comes to."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory)
    return outcome(directory)


class Killer:
    """Speaks to `tests/support/killable.py`."""

    def __init__(self):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "TOKENIZERS_PARALLELISM": "false",
        }
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


def test_killed_at_ten_moments_and_resumed(whole, killer, tmp_path):
    draw, kills = random.Random(3), 0
    left_alone = killer.run(tmp_path / "alone")
    assert left_alone["error"] is None
    assert_equal(whole, outcome(tmp_path / "alone"))
    assert left_alone["events"] > 200
    while kills < 10:
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


def test_killed_while_it_samples_ahead_and_resumed(killer, tmp_path):
    options = {"runtime": {"ahead": 1}}
    left_alone = killer.run(tmp_path / "alone", options=options)
    assert left_alone["error"] is None
    whole, draw, kills = outcome(tmp_path / "alone"), random.Random(4), 0
    while kills < 3:
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


# two at a time


@pytest.mark.parametrize("resume", [False, True])
def test_of_two_writers_one_is_refused_and_the_run_is_whole(whole, killer, tmp_path, resume):
    for number in range(2):
        directory = tmp_path / f"run-{number}"
        if resume:
            with pytest.raises(Stop):
                Run(recipe(), directory, False, StopAt(4 + 2 * number, "step")).train()
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
