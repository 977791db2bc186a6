"""A run whose samplers and judges are workers of a Ray cluster: to the bit the run in threads."""

import os
import signal
import threading

import pytest
import yaml

pytest.importorskip("ray")

from oneloop.parallel.runtime.cluster import RayWorker
from oneloop.run.remote import recipe_of
from tests.run.test_ahead import plain
from tests.support.training import assert_equal, outcome, train


def alike(made):
    """The outcome, but for where it was sampled."""
    made["state"].pop("surroundings")
    return {name: part for name, part in made.items() if name != "parquet"}


@pytest.mark.slow
def test_a_sampler_that_is_killed_and_a_judge_give_what_threads_give(local_ray, tmp_path, monkeypatch):
    train(tmp_path / "threads", **plain(1, steps=3))
    started, start = [], RayWorker._start
    monkeypatch.setattr(RayWorker, "_start", lambda self: started.append(self) or start(self))
    killed = threading.Event()

    def kill():
        process = next(worker for worker in started if worker.name == "sampler 0").process()
        os.kill(process, signal.SIGKILL)
        killed.set()

    call = RayWorker.__call__

    def called(self, *inputs, **options):
        if self.name == "sampler 0" and not killed.is_set():
            kill()
        return call(self, *inputs, **options)

    monkeypatch.setattr(RayWorker, "__call__", called)
    options = plain(1, steps=3, backend="ray", sampler_threads=1)
    train(tmp_path / "ray", **options)
    assert killed.is_set() and max(worker.deaths for worker in started) == 1
    assert_equal(alike(outcome(tmp_path / "threads")), alike(outcome(tmp_path / "ray")))


def test_paths_of_a_recipe_begin_where_the_run_was_started(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "likes.py").write_text("def likes(completion):\n    return 1.0\n")
    recipe = plain(1, backend="ray")
    recipe["phases"]["reinforce"]["judge"] = [{"function": {"path": "likes.py:likes"}}]
    text = yaml.safe_dump(recipe)
    monkeypatch.chdir(tmp_path)  # a worker of a cluster that was started elsewhere
    with pytest.raises(ValueError, match=r"no such file: likes.py.*has no folder .*away, where the run was"):
        recipe_of(text, str(tmp_path / "away"))
    assert recipe_of(text, str(tmp_path / "here")).phases["reinforce"].judge[0].path == "likes.py:likes"
    assert os.getcwd() == str(tmp_path / "here")
