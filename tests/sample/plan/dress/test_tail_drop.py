"""Tail Token Drop: the law of the lengths, and what has one of its own."""

import pytest
import torch
from scipy.stats import chisquare

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.sample.plan.dress.tail_drop import TailDrop


def rows(count, groups=None, **facts):
    group = torch.arange(count) if groups is None else torch.arange(count) % groups
    columns = {"id": torch.arange(count), "group": group, "last": torch.full((count,), -1)}
    return Rollouts(
        columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), {"seed": 5, "step": 0, **facts}
    )


def test_lengths_are_uniform_from_one_to_most():
    kept = TailDrop(most=4)(rows(100_000)).budget
    counts = kept.bincount(minlength=5)
    assert counts[0] == 0 and chisquare(counts[1:].numpy()).pvalue > 0.01
    # E[K] = (N + 1) / 2 and P(token j is kept) = (N - j) / N, each within four standard errors
    assert float(kept.double().mean()) == pytest.approx(2.5, abs=4 * (1.25 / 1e5) ** 0.5)
    for place, chance in enumerate((1.0, 0.75, 0.5, 0.25)):
        error = 4 * (chance * (1 - chance) / 1e5) ** 0.5
        assert float((kept > place).double().mean()) == pytest.approx(chance, abs=error or 1e-12)


def test_a_length_is_named_by_what_it_is_for():
    table = rows(600, groups=150)
    drop = TailDrop(most=8)
    some = torch.tensor([7, 3, 500])
    assert torch.equal(drop(table.take(some)).budget, drop(table).budget[some])
    of_groups = TailDrop(most=8, each="group")(table).budget.view(4, 150)
    assert (of_groups == of_groups[0]).all() and len(of_groups[0].unique()) == 8
    of_batch = [TailDrop(most=8, each="batch")(rows(5, step=step)).budget for step in range(200)]
    assert all(len(budget.unique()) == 1 for budget in of_batch)
    assert len({int(budget[0]) for budget in of_batch}) == 8
    assert not torch.equal(drop(table).budget, drop(table.put_facts(seed=6)).budget)


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"most must be at least least \(4\), got 3"):
        TailDrop(least=4, most=3)
