"""claims/otr.py: the data say what they should, and one short run is reproducible to the bit."""

import pytest
import torch
from benchmarks.claims import otr


def test_questions_and_answers():
    questions, answers = otr.all_questions()
    table = {
        tuple(question): answer for question, answer in zip(questions.tolist(), answers.tolist(), strict=True)
    }
    assert len(table) == 4 * 169
    assert [table[(task, 3, 12)] for task in range(4)] == [2, 4, 10, 12]


@pytest.mark.parametrize(("wrong", "shift"), [(0.0, 0), (0.0, 5), (0.3, 0), (1.0, 0)])
def test_demonstrations_are_as_wrong_as_asked(wrong, shift):
    pool = torch.arange(50)
    rollouts = otr.demonstrations(pool, 4000, wrong, shift, torch.Generator().manual_seed(0), seed=0, step=0)
    a, b = rollouts["question"][:, 1], rollouts["question"][:, 2]
    right = rollouts.actions.token == (a + b + shift) % 13
    assert rollouts["question"][:, 0].eq(0).all()  # the pool holds sums alone
    assert right.double().mean().item() == pytest.approx(1 - wrong, abs=0.03)
    assert rollouts.structure.is_chain and rollouts.length.eq(1).all()


def test_one_run_is_reproducible_and_every_method_learns_something(monkeypatch):
    monkeypatch.setattr(otr, "PRETRAINING", 8)
    monkeypatch.setattr(otr, "FINE_TUNING", 3)
    otr.pretrained.cache_clear()
    before = otr.before(1, lambda what: None)["noisy: before"]
    rows = {arm.name: otr.train(arm.name, 1e-3, 1) for arm in otr.CLAIM.arms}
    assert rows["noisy: OTR"] == otr.train("noisy: OTR", 1e-3, 1) != otr.train("noisy: OTR", 1e-3, 2)
    for columns in rows.values():
        assert list(columns) == [*before, "work"] and columns["work"] == 3 * 64
        assert all(0 < columns[name] < 1 for name in ("demonstrated", "held back", "other tasks"))
        assert columns["other tasks"] != before["other tasks"]
    held = {name: rows[f"noisy: {name}"]["held back"] for name in ("OTR", "SFT", "DFT")}
    assert otr.CLAIM.headline(rows) == held["OTR"] - max(held["SFT"], held["DFT"])
    otr.pretrained.cache_clear()
