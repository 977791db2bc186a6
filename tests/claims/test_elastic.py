"""The claim elastic: its data, its columns, its budgets, and tiny runs of both arms."""

import pytest
from benchmarks.claims import elastic

from oneloop.core.rollouts import Actions, Rollouts


def test_no_held_out_sum_nor_its_mirror_is_trained_on():
    train, test = ([row["prompt"] for row in elastic.rows(split)] for split in ("train", "test"))
    assert len(set(train)) == len(train) > len(test) == len(set(test)) > 0
    mirrored = {f"{prompt[2]}+{prompt[0]}=" for prompt in test}
    assert not set(train) & ({*test} | mirrored)
    for row in elastic.rows("train"):
        a, b = row["prompt"].rstrip("=").split("+")
        assert row["answer"] == row["completion"] == str(int(a) + int(b))


def test_only_the_answer_itself_is_right():
    texts = ["12", "12 ", "1", ""]
    judged = elastic.exact(Rollouts({"text": texts, "example": [{"answer": "12"}] * 4}, Actions({})))
    assert judged["reward"].tolist() == judged["correct"].tolist() == [1, 0, 0, 0]


def test_columns_are_those_of_each_budget_and_their_means():
    row = elastic.columns([(0.2, 0.1), (0.4, 0.3), (0.6, 0.5), (1.0, 0.7)], 5.0)
    assert row["greedy 55k"] == 0.2 and row["sampled 315k"] == 0.7 and row["work"] == 5.0
    assert row["greedy"] == pytest.approx(0.55) and row["sampled"] == pytest.approx(0.4)
    assert elastic.headline({"elastic": row, "alone": row | {"sampled": 0.5}}) == pytest.approx(-0.1)
    assert elastic.CLAIM.score(row) == row["sampled"]


def test_each_budget_buys_another_subnet_and_the_last_one_all():
    subnets = elastic.ELASTIC.subnets(elastic.small(0).build()[0])
    bought = [subnets.within(budget) for budget in elastic.BUDGETS]
    assert bought == sorted(set(bought)) and bought[-1] == subnets.largest
    assert all(subnets.costs[size] <= budget for size, budget in zip(bought, elastic.BUDGETS, strict=True))


@pytest.fixture
def tiny(monkeypatch):
    """Two budgets, a step of each phase, and in place of an accuracy the sum of the weights."""
    monkeypatch.setattr(elastic, "BUDGETS", (55_000, 315_000))
    monkeypatch.setattr(elastic, "accuracy", lambda policy, flops, mode: weights(policy.model))


def weights(model) -> float:
    return sum(float(weight.detach().double().abs().sum()) for weight in model.parameters())


def test_an_elastic_arm_spends_its_flops_and_is_repeated_to_the_bit(tiny):
    first, again = (elastic.train(4e6, "elastic", 1e-3, 3) for _ in range(2))
    assert first == again and first["work"] >= 4e6 and first["cut gap"] <= 1e-5
    assert first["greedy 55k"] == first["greedy 315k"] != weights(elastic.small(3).build()[0])


def test_models_trained_alone_are_those_of_each_budget(tiny):
    row, model = elastic.train(4e6, "alone", 1e-3, 3), elastic.small(3).build()[0]
    subnets = elastic.ELASTIC.subnets(model)
    for budget in elastic.BUDGETS:
        begun, trained = weights(subnets.cut(subnets.within(budget))), row[f"greedy {budget // 1000}k"]
        assert trained != begun and trained == pytest.approx(begun, rel=0.01)
    assert row["work"] >= 2 * 1e6
