"""The state behind a law by progress: what counts as a look, what keeps its law, and what is shown."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oneloop.sample.plan.draw.progress import Progress
from oneloop.sample.plan.draw.progress_chances import SHOWN


def judged(*rewards):
    return SimpleNamespace(reward=torch.tensor(rewards))


def test_a_look_is_taken_after_so_many_verdicts_and_none_is_left_over():
    chances = Progress(every=4, floor=0, smoothing=0).chances(range(2))
    place = np.array([0, 0, 1])
    chances.learn(place, judged(0.0, 0.5, 0.25))
    assert chances.looks == 0 and chances.count.tolist() == [2, 1]
    chances.learn(place, judged(float("nan"), float("nan"), 0.75))
    assert chances.looks == 1 and chances.loss.tolist() == [-0.25, -0.5]
    assert chances.count.tolist() == chances.total.tolist() == [0, 0]
    # class 0 gains 0.5 in two draws, class 1 gains 0.25 in two
    chances.learn(np.array([0, 0, 1, 1]), judged(0.5, 1.0, 0.75, 0.75))
    assert chances.improvement.tolist() == [0.25, 0.125]
    assert chances.probabilities.tolist() == pytest.approx([2 / 3, 1 / 3])
    chances.after_update(place, None)  # rewards are learned from, likelihoods are not
    assert chances.looks == 2


def test_a_number_keeps_the_law_under_which_it_was_drawn():
    chances = Progress(floor=0.0, smoothing=0).chances(range(2))
    before = chances.draw(3, range(40))
    chances.observe([1.0, 1.0], [0, 0])
    chances.observe([0.0, 1.0], [1, 1])
    assert chances.probabilities.tolist() == [1, 0] and chances.since == [0, 40]
    assert chances.draw(3, range(40)).tolist() == before.tolist()
    assert 0 < before.mean() < 1 and not chances.draw(3, range(40, 80)).any()
    chances.observe([0.0, 0.0], [1, 1])
    chances.observe([-1.0, 0.0], [1, 1])  # two looks without a draw between leave one law
    assert chances.since == [0, 40, 80] and len(chances.laws) == 3


@pytest.mark.parametrize("rule", ["rate", "shift", "uniform"])
def test_rules_give_laws_above_the_floor_whatever_is_observed(rule):
    chances = Progress(rule=rule, floor=0.3, lr=0.5).chances(range(3))
    made, furthest = np.random.default_rng(0), 0.0
    for _ in range(30):
        loss = made.normal(size=3)
        loss[made.random(3) < 0.2] = np.nan
        chances.observe(loss, made.integers(0, 5, 3))
        law = chances.probabilities
        assert law.sum() == pytest.approx(1) and law.min() >= 0.1 - 1e-12
        furthest = max(furthest, law.max() - law.min())
    assert chances.skipped > 0
    assert furthest <= 1e-12 if rule == "uniform" else furthest > 0.05


def test_the_shift_leaves_alone_what_was_not_measured():
    options = Progress(rule="shift", floor=0, lr=0.1)
    chances = options.chances(range(3))
    chances.observe([1.0, 1.0, 1.0], [0, 0, 0])
    chances.observe([0.0, 0.5, 0.0], [1, 1, 1], measured=[True, True, False])
    logits = chances.adam.logits
    # the third counts as the mean of the two: its gradient is 0, and Adam's first step is its rate
    assert logits.tolist() == pytest.approx([0.1, -0.1, 0.0], abs=1e-6)


def test_few_things_are_shown_one_by_one_and_many_by_their_entropy():
    few = Progress().chances(range(2)).metrics("draw/flops", ["10", "20"])
    assert few == {
        "draw/flops/entropy": pytest.approx(np.log(2)),
        "draw/flops/skipped": 0.0,
        "draw/flops/p_10": 0.5,
        "draw/flops/p_20": 0.5,
    }
    many = Progress().chances(range(SHOWN + 1)).metrics("draw/budget", [str(k) for k in range(SHOWN + 1)])
    assert set(many) == {"draw/budget/entropy", "draw/budget/skipped"}
