"""Rollouts that end early: where, how often, and that a resumed run ends them at the same place."""

import pytest
import torch
from scipy.stats import chisquare

from oneloop.sample.plan.dress.stop import Stop
from tests.support.trees import asked, policy


def test_stops_are_uniform_between_first_and_last_and_named_by_the_row():
    rows = asked(500)
    made = Stop(first=5, last=9)(rows)
    counts = made.budget.bincount(minlength=10)
    assert counts[:5].sum() == 0 and chisquare(counts[5:].numpy()).pvalue > 0.01
    some = torch.tensor([7, 3, 900])
    assert torch.equal(Stop(first=5, last=9)(rows.take(some)).budget, made.budget[some])
    assert not torch.equal(Stop(first=5, last=9)(rows.put_facts(seed=1)).budget, made.budget)


def test_the_policy_makes_so_many_steps_and_renders():
    rollouts, _ = policy(noise="ode").sample(Stop(first=3, last=3)(asked(2)))
    assert rollouts.length.tolist() == [3] * 4 and rollouts.output.shape == (4, 1, 2, 2)


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"last must be at least first \(4\), got 3"):
        Stop(first=4, last=3)
    with pytest.raises(ValueError):
        Stop(first=0)
