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


def test_the_critic_as_a_number_is_the_outcome_less_the_share_of_wrong_steps(monkeypatch):
    monkeypatch.setattr(capo, "LENGTH", 5)
    sampled = capo.Calculator(skip=False).sample(5, 3, torch.Generator().manual_seed(0), 0)
    told = capo.by_number(capo.critics()["exact critic"])(sampled)
    wrong = (~sampled.actions["sound"]).double().view(-1, 5).mean(1)
    assert torch.equal(told.reward, sampled.reward - wrong) and "advantage" in told.actions


def test_one_seed_is_reproducible_and_capo_is_faster(monkeypatch):
    monkeypatch.setattr(capo, "LENGTH", 3)
    monkeypatch.setattr(capo, "LIMIT", 40)
    monkeypatch.setattr(capo, "HACKED_STEPS", 4)
    monkeypatch.setattr(capo, "PENALTIES", (0.0, 20.0))
    names = ("GRPO", "GRPO, exact critic", "GRPO, noisy critic", "CAPO, exact critic", "CAPO, noisy critic")
    rows = {f"E1: {name}": capo.train(f"E1: {name}", 0.3, 0) for name in names}
    assert rows["E1: CAPO, noisy critic"] == capo.train("E1: CAPO, noisy critic", 0.3, 0)
    steps = {name: row["steps to 50 %"] for name, row in rows.items()}
    assert 0 < steps["E1: CAPO, exact critic"] < steps["E1: GRPO"] <= 40
    for name, row in rows.items():
        told = "critic" in name
        assert row["work"] == 256 * steps[name] and row["critic calls"] == told * row["work"]
        if "noisy" in name:
            assert row["wrong steps seen"] == pytest.approx(0.8, abs=0.05)
            assert row["invented"] == pytest.approx(0.2, abs=0.05)
    above, below = capo.CLAIM.headline(rows)
    ratios = [
        steps[f"E1: GRPO, {name} critic"] / steps[f"E1: CAPO, {name} critic"] for name in ("exact", "noisy")
    ]
    assert above / below == min(ratios)
    hacked = capo.penalties(0, lambda what: None)
    assert all(0 < hacked[f"E2: C = 2, P = {p}"]["accuracy after 4"] < 1 for p in (0, 20))
