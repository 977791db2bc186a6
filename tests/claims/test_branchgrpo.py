"""claims/branchgrpo.py: counts are those published, the estimate is unbiased, a short run is reproducible."""

import dataclasses

import pytest
import torch
from benchmarks.claims import branchgrpo, branchgrpo_shapes

from oneloop.models.flow.flow_transformer import FlowTransformer


@pytest.fixture
def small(monkeypatch):
    setting = dataclasses.replace(branchgrpo.DIGITS, samples=8, iterations=1, prompts=4)
    for name, value in {"DIGITS": setting, "PRETRAINING": 5, "BUDGET": 1, "DRAWN": 1}.items():
        monkeypatch.setattr(branchgrpo, name, value)
    branchgrpo.pretrained.cache_clear()
    yield setting
    branchgrpo.pretrained.cache_clear()


@pytest.mark.parametrize(
    ("arm", "evaluations"),
    [("flat", 305 + 304), ("flat, window", 305 + 64), ("tree", 203 + 202)],
)
def test_evaluations_are_as_counted(small, arm, evaluations):
    found = branchgrpo.gradients(small, branchgrpo.pretrained(0), branchgrpo.ARMS[arm], 0)
    assert found.evaluations == evaluations and len(found.rows) == 8 and found.rows.isfinite().all()
    assert 0 < found.reward < 1


def test_the_saving_is_exact():
    assert pytest.approx(0.665, abs=5e-4) == (203 + 202) / (305 + 304)


def test_signal_to_noise_is_unbiased_in_both():
    draw = torch.Generator().manual_seed(0)
    mean = torch.full((50,), 0.2)
    found = [
        branchgrpo.signal_to_noise(mean + torch.randn(40, 50, generator=draw, dtype=torch.float64))
        for _ in range(200)
    ]
    assert sum(found) / 200 == pytest.approx(0.04, abs=0.002)


def test_one_arm_is_reproducible_and_spends_its_budget(small):
    rows = {name: branchgrpo.train_arm(name, 1e-4, 1) for name in branchgrpo.ARMS}
    assert rows["tree"] == branchgrpo.train_arm("tree", 1e-4, 1)
    assert rows["flat"]["work"] == 4 * 609 and rows["tree"]["work"] == 4 * 405
    for row in rows.values():
        assert row["batches"] == 1 and 0 < row["reward"] < 1 and 0 < row["reader"] < 1
    before = branchgrpo.run(1, lambda what: None)["before"]
    assert before["reward"] != before["reader"]
    tree, flat = (max(rows[kind + more]["reader"] for more in ("", ", window")) for kind in ("tree", "flat"))
    assert branchgrpo.headline(rows) == tree - flat


def test_the_same_on_scenes(monkeypatch):
    """Two steps of pre-training, one batch; 15 actions, with 2, 4, 8, 16 edges after the forks."""
    setting = dataclasses.replace(branchgrpo_shapes.SHAPES, samples=1, prompts=1, iterations=1)
    monkeypatch.setattr(branchgrpo_shapes, "SHAPES", setting)
    monkeypatch.setattr(branchgrpo_shapes, "PRETRAINING", 2)
    small = {"layers": 1, "hidden_size": 32}
    monkeypatch.setattr(
        branchgrpo_shapes, "FlowTransformer", lambda **given: FlowTransformer(**given | small)
    )
    branchgrpo_shapes.pretrained.cache_clear()
    rows = branchgrpo_shapes.run(0, lambda what: None)
    branchgrpo_shapes.pretrained.cache_clear()
    edges = 3 * (2 + 4 + 8) + 6 * 16
    calls = 1 + edges  # the root, then a call for each edge: those of the last step render
    assert rows["tree"]["evaluations"] == calls + edges
    assert rows["flat"]["evaluations"] == 1 + 15 * 16 + 15 * 16
    assert 0 < rows["tree"]["reward"] < 1 and rows["tree"]["batches"] == 1
    wanted = rows["flat"]["to +0.03"] / rows["tree"]["to +0.03"]
    assert branchgrpo_shapes.headline(rows) == pytest.approx(wanted)
