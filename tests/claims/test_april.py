"""claims/april.py in small: the arms do equal work, what the rows say adds up, one run is like the next."""

import pytest
import torch
from benchmarks.claims import april

from oneloop.sample.data.counting import Counting


@pytest.fixture(scope="module")
def rows():
    small = {"WARM_START": 3, "UPDATES": 3, "FIXED": 2, "HELD_OUT": 4, "LONGEST": 40}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(april, name, value)
        told = []
        yield april.run(1, told.append), told


def test_every_answer_fits_in_the_length_limit_and_the_judge_knows_it():
    longest = max(len(Counting(sigma=5.0)[key]["answer"]) + 1 for key in range(300))
    assert longest <= april.LONGEST < 256 - len("60:")


def test_the_rows_of_one_seed(rows):
    table, told = rows
    assert len(told) == 1 + 3 + 2
    arms = ["synchronous", "APRIL", "APRIL, masked", "thrown away"]
    assert list(table) == [
        *("before", *arms, "tokens of APRIL by age"),
        *("quarter: synchronous", "quarter: APRIL"),
        *("APRIL over synchronous", "quarter: APRIL over synchronous"),
    ]
    assert table["synchronous"]["carried over"] == table["synchronous"]["held"] == 0
    assert table["APRIL"]["held"] > 0 == table["APRIL"]["discarded"] < table["thrown away"]["discarded"]
    ages = table["tokens of APRIL by age"]
    assert sum(ages.values()) == pytest.approx(1)
    assert 1 - ages["0"] == pytest.approx(table["APRIL"]["carried over"])
    for name in arms:
        row = table[name]
        assert row["tokens/s"] / row["rollouts/s"] == pytest.approx(row["length"])
        assert 0 < row["tokens/step"] <= april.SLOTS and 0 <= row["accuracy"] <= 1
    over = table["APRIL over synchronous"]
    assert (
        over["tokens/s"]
        == april.headline(table)
        == pytest.approx(table["APRIL"]["tokens/s"] / table["synchronous"]["tokens/s"])
    )
    assert 0 < table["quarter: APRIL"]["tokens/step"] <= april.SLOTS // 4


def test_all_arms_begin_with_the_same_weights(monkeypatch):
    monkeypatch.setattr(april, "WARM_START", 1)
    warm = april.warm_start(0)
    arms = april.trained(0, warm)
    for arm in arms.values():
        assert arm.policy.version == 0 and arm.policy.engine.slots == april.SLOTS
        for mine, theirs in zip(arm.policy.model.parameters(), warm.model.parameters(), strict=True):
            assert torch.equal(mine, theirs) and mine is not theirs
