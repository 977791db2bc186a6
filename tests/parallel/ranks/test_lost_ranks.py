"""A killed rank ends the run of all of them; nothing that was written is lost, and the run goes on."""

import os
import signal
import time
from functools import partial

import pytest
from tests.support import ranks, training
from tests.support.ranks import assert_same, options

pytestmark = pytest.mark.slow

STEPS = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of one process, left alone."""
    return training.train(tmp_path_factory.mktemp("whole") / "run", **options("full", steps=STEPS)).directory


@pytest.mark.parametrize("victim", [0, 1])
def test_the_others_end_and_the_run_goes_on(victim, whole, tmp_path):
    more = options("full", steps=STEPS)
    started = ranks.start(2, partial(ranks.train, tmp_path / "killed", **more))
    metrics = tmp_path / "killed" / "metrics.jsonl"
    end = time.monotonic() + ranks.LONGEST
    while not metrics.exists() or metrics.read_text().count('"kind": "step"') < STEPS - 1:
        assert time.monotonic() < end and all(process.is_alive() for process, _ in started)
        time.sleep(0.02)
    os.kill(started[victim][0].pid, signal.SIGKILL)
    process, pipe = started[1 - victim]
    assert pipe.poll(ranks.LONGEST)
    word, said = pipe.recv()
    process.join(ranks.LONGEST)
    assert word == "error" and f"rank {1 - victim} has lost another rank" in said
    assert process.exitcode is not None
    training.train(tmp_path / "killed", resume=True, **more)
    assert_same(whole, tmp_path / "killed")
