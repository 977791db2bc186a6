"""claims/capo_text.py: what arms are told, that runs are reproducible, what is counted."""

import pytest
import torch
from benchmarks.claims import capo_text

from oneloop.core.rollouts import Actions, Rollouts


@pytest.fixture
def short(monkeypatch):
    few = {"WARM_UP": ((2, 0.0, 3e-3), (1, 0.5, 1e-3)), "LIMIT": 2, "PROMPTS": 2, "SIZE": 4, "WINDOW": 2}
    for name, value in few.items():
        monkeypatch.setattr(capo_text, name, value)
    capo_text.warmed_up.cache_clear()
    yield capo_text
    capo_text.warmed_up.cache_clear()


def test_one_seed_is_reproducible_and_counts_updates_and_calls(short):
    rows = {name: short.train(name, 4e-4, 0) for name in short.ARMS}
    assert rows["CAPO, noisy critic"] == short.train("CAPO, noisy critic", 4e-4, 0)
    assert {row["steps to 50 %"] for row in rows.values()} == {2}  # so few updates teach nothing
    assert {row["work"] for row in rows.values()} == {2 * 2 * 4}
    calls = {name: row["critic calls"] / row["work"] for name, row in rows.items()}
    assert calls == {name: 4 * ("noisy" in name) + ("exact" in name) for name in short.ARMS}
    above, below = short.CLAIM.headline(rows)
    assert above / below == 1


def test_training_ends_where_half_of_the_answers_are_right(short, monkeypatch):
    monkeypatch.setattr(short, "TARGET", 0.0)
    monkeypatch.setattr(short, "LIMIT", 9)
    steps, accuracy = short.trained("GRPO", 1e-3, 0)
    assert steps == short.WINDOW and 0 <= accuracy <= 1


def test_a_critic_as_a_number_takes_the_share_of_wrong_steps_off_the_outcome():
    example = {"prompt": "3+4:", "start": 3, "operand": 4, "length": 2, "answer": "1"}
    text = "3+4=7\n\n7+4=2"  # the first of two steps is right
    letters = torch.arange(len(text))
    actions = Actions(
        {
            "parent": letters - 1,
            "token": letters * 0,
            "span": torch.stack([letters, letters + 1], 1),
            "share": torch.ones(len(text)),
        }
    )
    one = torch.tensor([0])
    columns = {
        "id": one,
        "group": one,
        "last": letters[-1:],
        "status": ["stop"],
        "text": [text],
        "example": [example],
    }
    rollouts = Rollouts(columns, actions, {"seed": 0, "step": 0, "progress": 0.0})
    judged = capo_text.told(capo_text.CRITICS["exact critic"], as_number=True)(rollouts)
    wrong = judged.actions.flaw.double().mean()
    assert judged.reward.item() == pytest.approx(-float(wrong)) and 0.3 < wrong < 0.6
    plain = capo_text.told(capo_text.CRITICS["exact critic"], as_number=False)(rollouts)
    assert plain.reward.item() == plain.correct.item() == 0


def test_the_outcome_is_the_last_result():
    example = {"answer": "7"}
    actions = Actions({"parent": torch.arange(3) * 0 - 1, "token": torch.zeros(3, dtype=torch.int64)})
    columns = {
        "id": torch.arange(3),
        "group": torch.zeros(3, dtype=torch.int64),
        "last": torch.arange(3),
        "text": ["3+4=7", "3+4=7\n\n7+4=1", "3+4=7 or so"],
        "example": [example] * 3,
    }
    assert capo_text.outcome(Rollouts(columns, actions)).reward.tolist() == [1, 0, 0]
