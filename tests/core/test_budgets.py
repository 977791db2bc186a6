"""Budgets follow their law, and their draws need no state."""

import numpy as np
import pytest

from oneloop.core.budgets import Budgets, BudgetSampler

PAPER = Budgets((64, 144, 256), (0.2, 0.3, 0.5))


def test_the_law_that_saves_28_percent():
    assert PAPER.mean == pytest.approx(184.0) and 1 - PAPER.mean / 256 == pytest.approx(0.28125)
    drawn = PAPER.draw(0, np.arange(20000))
    variance = 0.2 * 120**2 + 0.3 * 40**2 + 0.5 * 72**2
    assert variance == pytest.approx(5952)
    assert abs(drawn.mean() - 184) < 3 * (variance / 20000) ** 0.5
    assert set(drawn.tolist()) == {64, 144, 256}


def test_a_budget_of_probability_one_is_always_drawn_and_one_of_zero_never():
    assert set(Budgets((64, 144, 256), (0, 0, 1)).draw(3, np.arange(999)).tolist()) == {256}
    assert set(Budgets((4, 9), (0.5, 0.5)).draw(3, np.arange(99)).tolist()) == {4, 9}
    assert Budgets((4, 9)).mean == 6.5


def test_a_sampler_goes_on_where_it_was_saved():
    whole = BudgetSampler((64, 144, 256), (0.2, 0.3, 0.5), seed=5)
    first = [whole.next() for _ in range(20)]
    begun = BudgetSampler((64, 144, 256), (0.2, 0.3, 0.5), seed=5)
    assert [begun.next() for _ in range(7)] == first[:7]
    resumed = BudgetSampler((64, 144, 256), (0.2, 0.3, 0.5))
    resumed.load_state_dict(begun.state_dict())
    assert [resumed.next() for _ in range(13)] == first[7:]


@pytest.mark.parametrize(
    ("choices", "probabilities", "said"),
    [
        ((), (), "different positive numbers"),
        ((4, 4), (), "different positive numbers"),
        ((0, 4), (), "different positive numbers"),
        ((4, 9), (1.0,), "one for each of 2 choices, got 1"),
        ((4, 9), (0.5, 0.6), "add up to 1"),
        ((4, 9), (-0.5, 1.5), "at least 0"),
    ],
)
def test_what_is_no_law_is_refused(choices, probabilities, said):
    with pytest.raises(ValueError, match=said):
        Budgets(choices, probabilities)
