"""claims/branchgrpo.py: evaluations as published, short runs are reproducible and spend their budget."""

import dataclasses

import pytest
import torch
from benchmarks.claims import branchgrpo, branchgrpo_shapes

from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.run.evaluation import held_out


@pytest.fixture
def small(monkeypatch):
    setting = dataclasses.replace(branchgrpo.DIGITS, iterations=1, prompts=4)
    for name, value in {"DIGITS": setting, "PRETRAINING": 5, "BUDGET": 1, "ROWS": 4, "EACH": 1}.items():
        monkeypatch.setattr(branchgrpo, name, value)
    branchgrpo.pretrained.cache_clear()
    yield setting
    branchgrpo.pretrained.cache_clear()


def test_the_saving_is_exact():
    assert pytest.approx(0.665, abs=5e-4) == (203 + 202) / (305 + 304)


def test_the_wanted_digit_is_five_further_on():
    asked = held_out(branchgrpo.Digits(split="test"), 40, 1, 0)
    images, labels = (torch.as_tensor(each) for each in branchgrpo.load())
    found = []
    for further in (5, 0):
        wanted = [(int(row["prompt"]) + further) % 10 for row in asked.example]
        drawn = torch.stack([images[labels == digit][3] for digit in wanted])
        found.append(float(branchgrpo.reader(1)(asked.put(output=drawn)).mean()))
    assert found[0] > 0.8 and found[1] < 0.1, "real digits: those wanted, and those the prompt says"


def test_arms_are_reproducible_and_spend_what_is_counted(small):
    rows = {name: branchgrpo.train(name, 1e-4, 1) for name in branchgrpo.ARMS}
    assert rows["tree"] == branchgrpo.train("tree", 1e-4, 1)
    assert {name: row["work"] / 4 for name, row in rows.items() if name != "tree, window"} == {
        "flat": 305 + 304,
        "flat, window": 305 + 64,
        "tree": 203 + 202,
    }
    assert 203 < rows["tree, window"]["work"] / 4 < 203 + 202
    for row in rows.values():
        assert row["batches"] == 1 and 0 < row["reward"] < 1 and 0 < row["greedy: reader"] < 1
    before = branchgrpo.run(1, lambda what: None)["before"]
    assert before["reward"] != before["reader"]
    tree, flat = (max(rows[kind + more]["reader"] for more in ("", ", window")) for kind in ("tree", "flat"))
    assert branchgrpo.headline(rows) == tree - flat


def test_the_same_on_scenes(monkeypatch):
    """Two steps of pre-training, one batch; 15 actions, with 2, 4, 8, 16 edges after the forks."""
    setting = dataclasses.replace(branchgrpo_shapes.SHAPES, prompts=1, iterations=1)
    for name, value in {"SHAPES": setting, "PRETRAINING": 2, "BUDGET": 1, "UNSEEN": 4, "EACH": 1}.items():
        monkeypatch.setattr(branchgrpo_shapes, name, value)
    small = {"layers": 1, "hidden_size": 32}
    monkeypatch.setattr(
        branchgrpo_shapes, "FlowTransformer", lambda **given: FlowTransformer(**given | small)
    )
    for kept in (branchgrpo_shapes.pretrained, branchgrpo_shapes.unseen):
        kept.cache_clear()
    rows = {name: branchgrpo_shapes.train(name, 1e-4, 0) for name in ("flat", "tree")}
    trained = {setting.data[key]["prompt"] for key in range(len(setting.data))}
    tested = {row["prompt"] for row in branchgrpo_shapes.unseen().rows}
    assert len(tested) == 4 and not trained & tested
    for kept in (branchgrpo_shapes.pretrained, branchgrpo_shapes.unseen):
        kept.cache_clear()
    edges = 3 * (2 + 4 + 8) + 6 * 16
    assert rows["tree"]["work"] == 1 + edges + edges  # the root, then a call for each edge
    assert rows["flat"]["work"] == 1 + 15 * 16 + 15 * 16
    assert all(0 <= row["reward"] <= 1 and 0 <= row["greedy"] <= 1 for row in rows.values())
