"""Trackers get every line's numbers; which library is behind them is played here."""

import sys
from types import SimpleNamespace

import pytest

from oneloop.core.extras import MissingExtra
from oneloop.run.run import Run
from oneloop.run.trackers import numbers, tracker
from tests.support.training import recipe

STEP = {"kind": "step", "phase": "train", "step": 3, "reward": 0.5, "num_tokens": 7}
EVAL = {"kind": "eval", "mode": "greedy", "when": "after", "step": 4, "accuracy": 0.25}


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_is_opened_and_lines_arrive(name, monkeypatch, tmp_path):
    seen = []
    library = SimpleNamespace(
        init=lambda **options: seen.append(options), log=lambda values, step: seen.append((values, step))
    )
    monkeypatch.setitem(sys.modules, name, library)
    hook = tracker(name, "mine", tmp_path)
    hook(STEP)
    hook(EVAL)
    assert seen[0]["project"] == "oneloop" and seen[0]["name"] == "mine"
    assert seen[1:] == [({"reward": 0.5, "num_tokens": 7.0}, 3), ({"eval/greedy/accuracy": 0.25}, 4)]


def test_tensorboard_gets_scalars(monkeypatch, tmp_path):
    seen = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, *scalar):
            seen.append(scalar)

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    tracker("tensorboard", "mine", tmp_path)(STEP)
    assert seen == [("reward", 0.5, 3), ("num_tokens", 7.0, 3)]


def test_a_missing_library_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match=r"trackers: wandb needs .* pip install '.\[wandb\]'"):
        tracker("wandb", "mine", tmp_path)


def test_a_missing_library_is_said_before_there_is_a_folder(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match="trackers: wandb needs"):
        Run(recipe(trackers=["wandb"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_words_are_not_metrics():
    assert numbers({"kind": "doctor", "step": 1, "sentence": "all is well"}) == {}
