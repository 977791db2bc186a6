"""claims/capo.py: its text is what its table did, its accuracy is exact, a short run does as a long one."""

import pytest
import torch
from benchmarks.claims import capo

from oneloop.sample.data.sum_chain import BREAK, wrong_steps


@pytest.fixture
def batch():
    policy = capo.Calculator(skip=False)
    return capo.written(policy.sample(5, 3, torch.Generator().manual_seed(0), 0), 5)


def test_solutions_are_written_as_they_were_made(batch):
    row, action = batch.paths
    for i in (0, 1, 255):
        steps = batch.text[i].split(BREAK)
        example = batch.example[i]
        sound = batch.actions["sound"][action[row == i]]
        wrong = wrong_steps(steps, example["start"], example["operand"], 5)
        assert [k for k in range(5) if not sound[k]] == list(wrong)
        spans = batch.actions.span[action[row == i]].tolist()
        assert "".join(batch.text[i][a:b] for a, b in spans) == batch.text[i]
        right = steps[-1][-1] == str((example["start"] + 5 * example["operand"]) % 10)
        assert float(right) == batch.reward[i]


def test_an_exact_critic_flags_exactly_the_unsound_steps(batch):
    judged = capo.critics()["exact critic"](batch)
    assert torch.equal(judged.actions.flaw > 0, ~judged.actions["sound"])


@pytest.mark.parametrize("skip", [False, True])
def test_accuracy_is_exact(skip):
    policy = capo.Calculator(skip)
    assert policy.logits[0, 0].softmax(-1)[0].item() == pytest.approx(0.5)
    draw = torch.Generator().manual_seed(0)
    rewards = torch.cat([policy.sample(3, step, draw, 0).reward for step in range(40)])
    assert policy.accuracy(3) == pytest.approx(rewards.mean().item(), abs=0.02)


def test_one_seed_is_reproducible_and_capo_is_faster(monkeypatch):
    monkeypatch.setattr(capo, "RATES", (0.3,))
    monkeypatch.setattr(capo, "LENGTH", 3)
    monkeypatch.setattr(capo, "LIMIT", 40)
    monkeypatch.setattr(capo, "HACKED_STEPS", 4)
    monkeypatch.setattr(capo, "PENALTIES", (0.0, 20.0))
    exact = {name: capo.critics()[name] for name in ("exact critic", "noisy critic, 1 critique")}
    monkeypatch.setattr(capo, "critics", lambda: exact)
    rows = capo.run(0, lambda what: None)
    assert rows == capo.run(0, lambda what: None)
    steps = {name: row["steps to 50 %"] for name, row in rows.items() if name.startswith("E1")}
    assert 0 < steps["E1: CAPO, exact critic"] < steps["E1: GRPO"] <= 40
    noisy = rows["E1: CAPO, noisy critic, 1 critique"]
    assert noisy["wrong steps seen"] == pytest.approx(0.8, abs=0.05)
    assert noisy["invented"] == pytest.approx(0.2, abs=0.05)
    assert all(0 < rows[f"E2: C = 2, P = {p}"]["accuracy after 4"] < 1 for p in (0, 20))
    assert capo.headline(rows) > 1
