"""claims/brorl.py: its policy samples its own law, its plan keeps what it should, one tiny run repeats."""

import pytest
import torch
from benchmarks.claims import brorl
from benchmarks.claims.otr import all_questions


@pytest.fixture
def policy(monkeypatch):
    monkeypatch.setattr(brorl, "PRETRAINING", 60)
    questions, answers = all_questions()
    return brorl.Answers(brorl.pretrained(0), questions[:40], answers[:40])


def test_answers_are_drawn_from_the_law(policy):
    asking = brorl.plan(policy.questions, 2000, 3)
    asking.begin(0, 1)
    finished, unfinished = policy.sample(asking.ask())
    assert len(unfinished) == 0 and len(finished) == 6000
    keys = finished.key.unique()
    rate = policy.right(policy.questions[keys], policy.answers[keys])
    for key, expected in zip(keys, rate, strict=True):
        measured = finished.reward[finished.key == key].mean()
        assert abs(measured - expected) < 5 * (expected * (1 - expected) / 2000).sqrt() + 1e-9
    laws = policy.model(policy.questions).log_softmax(-1)
    expected = laws[finished.key, finished.actions.token]
    torch.testing.assert_close(finished.actions.logprob, expected.detach())
    here = policy.at(finished, torch.arange(6000))
    torch.testing.assert_close(here.logprob, expected)
    assert here.entropy.shape == (6000,) and policy.sampled == 6000


def test_kept_groups_are_as_many_as_the_closed_form_says(policy):
    found = brorl.kept_groups(policy, 6, seed=1)
    assert abs(found["z"]) < 4 and 0 < found["kept %"] < 100
    wider = brorl.kept_groups(policy, 60, seed=1)
    assert wider["kept %"] > found["kept %"] and wider["closed form %"] > found["closed form %"]


def test_reinforcing_raises_what_is_trained_on(policy):
    before = policy.right(policy.questions, policy.answers).mean()
    brorl.reinforce(policy, 16, 8, None, 4000, seed=0)
    assert 4000 <= policy.sampled < 4000 + 16 * 8 * 2 and policy.version > 10
    assert policy.right(policy.questions, policy.answers).mean() > before + 0.05


def test_one_seed_is_reproducible(monkeypatch):
    monkeypatch.setattr(brorl, "PRETRAINING", 30)
    monkeypatch.setattr(brorl, "STEPS", 4)
    monkeypatch.setattr(brorl, "SIZE", {"vocabulary": 500, "correct": 40})
    monkeypatch.setattr(brorl, "PLATEAU", 500)
    monkeypatch.setattr(brorl, "BUDGET", 500)
    monkeypatch.setattr(brorl, "HELD_BACK", 640)
    seen = []
    first = brorl.run(1, seen.append)
    assert first == brorl.run(1, lambda what: None) != brorl.run(2, lambda what: None)
    assert len(seen) == brorl.CLAIM.units
    assert brorl.headline(first) == first["E1 N=51200"]["improved %"]
    wide, narrow = first["E3 wide (N=256 x 8)"], first["E3 narrow (N=16 x 32)"]
    gain = first["E3 wide - narrow"]["held back, pass@1 %"]
    assert gain == wide["held back, pass@1 %"] - narrow["held back, pass@1 %"]
    assert all(0 <= wide[column] <= 100 for column in wide if column != "z")
