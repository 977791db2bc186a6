import torch
from benchmarks.claims import capo_text

from oneloop.core.rollouts import Actions, Rollouts


def test_one_seed_is_reproducible_and_counts_updates(monkeypatch):
    monkeypatch.setattr(capo_text, "WARM_UP", ((2, 0.0, 3e-3), (1, 0.5, 1e-3)))
    monkeypatch.setattr(capo_text, "LIMIT", 2)
    monkeypatch.setattr(capo_text, "PROMPTS", 2)
    monkeypatch.setattr(capo_text, "SIZE", 4)
    told = []
    rows = capo_text.run(0, told.append)
    assert rows == capo_text.run(0, lambda what: None)
    assert len(told) == capo_text.CLAIM.units
    assert {row["steps to 50 %"] for row in rows.values()} == {2}  # so few updates teach nothing
    assert capo_text.headline(rows) == 1
    assert rows["GRPO"]["learning rate"] in capo_text.RATES["GRPO"]


def test_training_ends_where_half_of_the_answers_are_right(monkeypatch):
    monkeypatch.setattr(capo_text, "TARGET", 0.0)
    monkeypatch.setattr(capo_text, "PROMPTS", 2)
    monkeypatch.setattr(capo_text, "SIZE", 2)
    monkeypatch.setattr(capo_text, "WARM_UP", ((1, 0.0, 1e-3),))
    steps, accuracy = capo_text.train(capo_text.warmed_up(0), "CAPO, exact critic", 1e-3, 0, limit=9)
    assert steps == capo_text.WINDOW and 0 <= accuracy <= 1


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
