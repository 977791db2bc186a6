"""Laws that stay: uniform, weighted and powers of two, how often each is drawn, and what is refused."""

import numpy as np
import pytest

from oneloop.core.budgets import Budgets
from oneloop.sample.plan.draw.powers_of_two import PowersOfTwo
from oneloop.sample.plan.draw.uniform import Uniform
from oneloop.sample.plan.draw.weighted import Weighted


@pytest.mark.parametrize(
    ("choices", "drawn"),
    [
        (range(1, 9), {1, 2, 4, 8}),
        (range(1, 11), {1, 2, 4, 8, 10}),
        ((3, 5, 6), {6}),
        ((16, 3, 1), {16, 1}),
        ((0, 0.5, 2.5, 7), {7}),
        ((1,), {1}),
    ],
)
def test_powers_of_two_and_the_largest_are_alike_and_nothing_else_is_drawn(choices, drawn):
    law = PowersOfTwo().chances(list(choices)).probabilities
    wanted = [1 / len(drawn) if choice in drawn else 0.0 for choice in choices]
    assert law.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("law", [(0.2, 0.3, 0.5), (0.0, 1.0, 0.0), (0.999, 0.001, 0.0)])
def test_shares_are_those_stated_and_what_has_none_never_comes(law):
    chances = Weighted(probabilities=law).chances(range(3))
    places = chances.draw(5, np.arange(4000))
    shares = np.bincount(places, minlength=3) / 4000
    for share, chance in zip(shares, law, strict=True):
        assert abs(share - chance) <= 4 * (chance * (1 - chance) / 4000) ** 0.5
    assert [int(chances.draw(5, number)) for number in range(20)] == places[:20].tolist()
    assert chances.draw(6, np.arange(4000)).tolist() != places.tolist() or max(law) == 1


def test_what_does_not_change_has_nothing_to_remember_or_to_show():
    chances = Uniform().chances(range(4))
    chances.load_state_dict(chances.state_dict())
    chances.learn(np.zeros(3, dtype=np.int64), None)
    chances.after_update(np.zeros(3, dtype=np.int64), None)
    assert chances.state_dict() == {} == chances.metrics("draw/budget", list("abcd"))
    assert chances.probabilities.tolist() == [0.25] * 4


def test_what_nearly_adds_up_to_1_is_made_to():
    third = Weighted(probabilities=(0.3333333, 0.3333333, 0.3333333)).chances(range(3))
    assert third.probabilities.sum() == 1 and third.probabilities.tolist() == pytest.approx([1 / 3] * 3)
    assert Budgets((4, 8), (0.25, 0.75)).mean == 7


@pytest.mark.parametrize("law", [(0.5, 0.4), (1.5, -0.5), (float("nan"), 0.5), (0.5, float("inf"))])
def test_what_is_no_law_is_refused_wherever_it_is_stated(law):
    for stated in (lambda: Weighted(probabilities=law), lambda: Budgets((4, 8), law)):
        with pytest.raises(ValueError, match="add up to 1, got|should be a finite number"):
            stated()
    with pytest.raises(ValueError, match=r"one for each of 2 choices, got 1"):
        Weighted(probabilities=(1.0,)).chances([1, 2])
    with pytest.raises(ValueError, match=r"one for each of 2 choices, got 1"):
        Budgets((4, 8), (1.0,))
