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
    brorl.reinforce(policy, 16, 8, 3e-4, 4000, seed=0)
    assert 4000 <= policy.sampled < 4000 + 16 * 8 * 2 and policy.version > 10
    assert policy.right(policy.questions, policy.answers).mean() > before + 0.05


def test_one_seed_is_reproducible(monkeypatch):
    small = {"PRETRAINING": 30, "PLATEAU": 600, "BUDGET": 500, "HELD_BACK": 640}
    for name, value in small.items():
        monkeypatch.setattr(brorl, name, value)
    brorl.plateau.cache_clear()
    seen = []
    measured = brorl.run(1, seen.append)
    assert len(seen) == brorl.CLAIM.units and measured["E3 before"] != measured["E3 plateau"]
    rows = {arm.name: brorl.train(arm.name, 3e-4, 1) for arm in brorl.CLAIM.arms}
    assert rows["E3 N=256 x 8"] == brorl.train("E3 N=256 x 8", 3e-4, 1)
    wide, narrow = (rows[name]["trained on, pass@1 %"] for name in ("E3 N=256 x 8", "E3 N=16 x 32"))
    assert brorl.CLAIM.headline(rows) == wide - narrow
    for row in rows.values():
        assert 500 <= row["work"] < 500 + 2 * 256 * 8
        assert all(0 <= row[column] <= 100 for column in row if column not in ("z", "work"))
    brorl.plateau.cache_clear()
