"""Rules of learning progress: the worked examples of ShiftNAS' probability shift, and their limits."""

import numpy as np
import pytest

from oneloop.sample.plan.draw.rules import (
    Adam,
    by_rate,
    entropy,
    per_draw,
    shift_gradient,
    smoothed,
    softmax,
    uniform,
    with_floor,
)

CHANGE = np.array([-0.30, -0.10, -0.05])


def test_the_gradient_of_the_shift_is_that_of_the_worked_example():
    equal = shift_gradient(uniform(3), CHANGE)
    assert equal == pytest.approx([-0.05, 1 / 60, 1 / 30], abs=1e-12)
    law = softmax(np.array([0.5, 0.0, -0.5]))
    assert law == pytest.approx([0.50648039, 0.30719589, 0.18632372], abs=1e-8)
    assert law @ CHANGE == pytest.approx(-0.19197989, abs=1e-8)
    assert shift_gradient(law, CHANGE) == pytest.approx([-0.05471007, 0.02825584, 0.02645422], abs=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_adds_up_to_0_whatever_is_added_to_all_changes(seed):
    made = np.random.default_rng(seed)
    law, change = softmax(made.normal(size=7)), made.normal(size=7)
    gradient = shift_gradient(law, change)
    assert gradient.sum() == pytest.approx(0, abs=1e-15)
    assert shift_gradient(law, change + 3.0) == pytest.approx(gradient, abs=1e-14)
    assert shift_gradient(law, np.full(7, 2.0)) == pytest.approx(np.zeros(7), abs=1e-15)
    assert shift_gradient(np.ones(1), change[:1]) == pytest.approx([0.0], abs=1e-15)


def test_the_first_step_of_adam_has_the_size_of_its_rate():
    adam = Adam(np.zeros(3), 1e-3)
    adam.step(shift_gradient(uniform(3), CHANGE))
    assert adam.logits == pytest.approx([1e-3, -1e-3, -1e-3], abs=1e-9)
    assert softmax(adam.logits) == pytest.approx([0.33377793, 0.33311104, 0.33311104], abs=1e-8)


def test_the_rate_is_the_improvement_in_one_draw():
    gained = per_draw(CHANGE, np.array([10.0, 2.0, 0.0]))
    assert gained[:2] == pytest.approx([0.03, 0.05]) and np.isnan(gained[2])
    # what is not known counts as the mean of the others
    assert by_rate(gained) == pytest.approx([0.25, 5 / 12, 1 / 3])
    assert by_rate(np.array([0.01, 0.04, -1.0]), power=0.5) == pytest.approx([1 / 3, 2 / 3, 0.0])
    for nothing in ([-1.0, 0.0], [np.nan, np.nan], [-1e-3, -1e-3]):
        assert by_rate(np.array(nothing)).tolist() == [0.5, 0.5]


def test_an_average_begins_with_its_first_value():
    first = smoothed(np.array([np.nan, 1.0, np.nan]), np.array([2.0, np.nan, np.nan]), 0.7)
    assert first[:2].tolist() == [2.0, 1.0] and np.isnan(first[2])
    assert smoothed(np.array([2.0]), np.array([1.0]), 0.7) == pytest.approx([1.7])


def test_a_floor_and_the_entropy():
    law = with_floor(np.array([1.0, 0.0]), 0.2)
    assert law == pytest.approx([0.9, 0.1])
    assert entropy(uniform(8)) == pytest.approx(np.log(8)) and entropy(np.array([1.0, 0.0])) == 0
