"""claims/branchgrpo.py: counts are those published, the estimate is unbiased, a short run is reproducible."""

import pytest
import torch

from oneloop.claims import branchgrpo


@pytest.fixture
def small(monkeypatch):
    for name, value in {"PRETRAINING": 5, "SAMPLES": 8, "ITERATIONS": 1, "PROMPTS": 4}.items():
        monkeypatch.setattr(branchgrpo, name, value)


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ("flat", 305 + 304),
        ("tree", 203 + 202),
        ("tree, late steps pruned", 203 + 122),
        ("tree, better sibling only", 203 + 130),
    ],
)
def test_evaluations_are_as_counted(small, method, evaluations):
    rows, each = branchgrpo.gradients(branchgrpo.pretrained(0), branchgrpo.METHODS[method], 0)
    assert each == evaluations and len(rows) == 8 and rows.isfinite().all()


def test_the_saving_is_exact():
    assert pytest.approx(0.665, abs=5e-4) == (203 + 202) / (305 + 304)
    assert pytest.approx(0.534, abs=5e-4) == (203 + 122) / (305 + 304)


def test_signal_to_noise_is_unbiased_in_both():
    draw = torch.Generator().manual_seed(0)
    mean = torch.full((50,), 0.2)
    found = [
        branchgrpo.signal_to_noise(mean + torch.randn(40, 50, generator=draw, dtype=torch.float64))
        for _ in range(200)
    ]
    assert sum(found) / 200 == pytest.approx(0.04, abs=0.002)


def test_one_seed_is_reproducible(small, monkeypatch):
    kept = {name: branchgrpo.METHODS[name] for name in ("flat", "tree")}
    monkeypatch.setattr(branchgrpo, "METHODS", kept)
    said = []
    first = branchgrpo.run(1, said.append)
    assert first == branchgrpo.run(1, lambda what: None) and len(said) == 3
    assert list(first) == ["flat", "tree", "tree over flat"]
    assert first["tree over flat"]["evaluations"] == pytest.approx(405 / 609)
    assert first["tree"]["to .8"] == pytest.approx(4 * 405 / 1000)
