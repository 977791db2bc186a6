import math

import pytest
import torch

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.verdicts import Verdict, columns, verdict


@pytest.mark.parametrize("value", [1, 0.25, True, -3])
def test_a_number_is_a_score(value):
    assert verdict(value) == Verdict(float(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", [1.0]])
def test_what_is_no_finite_number_is_an_error(value):
    made = verdict(value)
    assert math.isnan(made.score) and "returned" in made.error


def test_none_score_and_error_are_told_apart():
    written = columns("j", [verdict(0.5), verdict(None), verdict(math.nan)])
    assert written["reward.j"].dtype == torch.float64
    assert written["reward.j"].isnan().tolist() == [False, True, True]
    assert [error is None for error in written["error.j"]] == [True, True, False]


def test_limits_have_bounds():
    for fields in (
        {"timeout": 0},
        {"memory_mb": 1},
        {"retries": -1},
        {"on_error": "ignore"},
        {"workers": 0},
        {"x": 1},
    ):
        with pytest.raises(ValueError):
            JudgeLimits(**fields)
