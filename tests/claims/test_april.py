"""claims/april.py in small: the arms do equal work, what the rows say adds up, one run is like the next."""

import pytest
import torch
from benchmarks.claims import april

from oneloop.sample.data.counting import Counting


@pytest.fixture(scope="module")
def rows():
    small = {"WARM_START": 3, "UPDATES": 3, "HELD_OUT": 4, "LONGEST": 40}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(april, name, value)
        april.warm_start.cache_clear()
        yield {name: april.train(name, 16, 1) for name in april.ARMS}
        april.warm_start.cache_clear()


def test_every_answer_fits_in_the_length_limit_and_the_judge_knows_it():
    longest = max(len(Counting(sigma=5.0)[key]["answer"]) + 1 for key in range(300))
    assert longest <= april.LONGEST < 256 - len("60:")


def test_the_rows_of_one_seed(rows):
    assert {row["work"] for row in rows.values()} == {3 * april.GROUPS * april.SAMPLES}
    assert rows["synchronous"]["carried over"] == rows["synchronous"]["held"] == 0
    assert rows["APRIL"]["held"] > 0 == rows["APRIL"]["discarded"] < rows["thrown away"]["discarded"]
    for row in rows.values():
        assert 0 < row["tokens/step"] <= 16 and 0 <= row["accuracy"] <= 1
        assert row["throughput"] > 0 and 0 <= row["two updates old or more"] <= row["carried over"] <= 1
    over, under = april.headline(rows)
    assert over / under == pytest.approx(rows["APRIL"]["throughput"] / rows["synchronous"]["throughput"])


def test_all_arms_begin_with_the_same_weights(monkeypatch):
    monkeypatch.setattr(april, "WARM_START", 1)
    april.warm_start.cache_clear()
    warm = april.warm_start(0)
    for name in april.ARMS:
        arm = april.Trial(name, 8, 0, warm)
        assert arm.policy.version == 0 and arm.policy.engine.slots == 8
        for mine, theirs in zip(arm.policy.model.parameters(), warm.model.parameters(), strict=True):
            assert torch.equal(mine, theirs) and mine is not theirs
    april.warm_start.cache_clear()
