"""Pairs, the loss of a judge that compares, and favour for a place, by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from oneloop.judge.pairwise.preferences import (
    antisymmetric,
    best_worst_pairs,
    judge_loss,
    position_bias,
    wins,
)


def log_pair(yes: float, no: float) -> torch.Tensor:
    return torch.tensor([yes, no], dtype=torch.float64).log_softmax(0)


def test_worked_probabilities_and_loss():
    logits = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    assert logits.softmax(0)[0].item() == pytest.approx(0.62853172, abs=1e-8)
    assert log_pair(2.0, 0.5)[0].exp().item() == pytest.approx(0.81757448, abs=1e-8)
    yes, no = log_pair(1.2, -0.3)[0], log_pair(-0.4, 0.7)[1]
    assert (yes.exp().item(), no.exp().item()) == pytest.approx((0.81757448, 0.75026011), abs=1e-8)
    assert judge_loss(yes[None], no[None]).item() == pytest.approx(0.24437430, abs=1e-8)


@given(st.floats(-8, 8), st.floats(-8, 8))
def test_it_is_bradley_terry_where_the_margin_is_a_difference(winner, loser):
    one, other = log_pair(winner - loser, 0.0), log_pair(loser - winner, 0.0)
    expected = -logsigmoid(torch.tensor(winner - loser, dtype=torch.float64))
    torch.testing.assert_close(judge_loss(one[:1], other[1:]), expected, atol=1e-12, rtol=0)


def test_bradley_terry_by_hand():
    one, other = log_pair(0.8 + 0.2, 0.0), log_pair(-0.2 - 0.8, 0.0)
    assert judge_loss(one[:1], other[1:]).item() == pytest.approx(0.31326169, abs=1e-8)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6))
def test_yes_against_no_alone_is_never_less_than_among_all_words(logits):
    law = torch.tensor(logits, dtype=torch.float64)
    pair = (law[0] - law[1]).sigmoid()
    assert pair >= law.softmax(0)[0] - 1e-15
    torch.testing.assert_close(pair, law[:2].softmax(0)[0])


def test_best_and_worst_of_each_set_without_ties_and_nan():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3], [0.2, float("nan"), 1.0], [0.50, 0.52, 0.51]])
    winner, loser, clear = best_worst_pairs(scores, 0.05)
    assert (winner[0], loser[0]) == (1, 0) and clear.tolist() == [True, False, False, False]
    assert best_worst_pairs(scores)[2].tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match=r"candidates >= 2\], got \[3, 1\]"):
        best_worst_pairs(scores[:3, :1])


def test_the_gap_of_best_and_worst_is_nearly_twice_that_of_a_random_pair():
    draws = torch.randn(20000, 4, generator=torch.Generator().manual_seed(0))
    winner, loser, _ = best_worst_pairs(draws)
    gap = (draws.gather(1, winner[:, None]) - draws.gather(1, loser[:, None])).mean()
    assert gap.item() == pytest.approx(2.06, abs=0.03)
    assert (draws[:, 0] - draws[:, 1]).abs().mean().item() == pytest.approx(1.13, abs=0.03)


def test_without_a_pair_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="learns from pairs, got none"):
        judge_loss(torch.empty(0), torch.empty(0))


@given(st.floats(0, 1), st.floats(0, 1))
def test_favour_for_a_place_is_averaged_away(forward, swapped):
    a, b = torch.tensor([forward]), torch.tensor([swapped])
    assert (antisymmetric(a, b) + antisymmetric(b, a)).item() == pytest.approx(1, abs=1e-6)
    assert position_bias(a, b).item() == pytest.approx(forward + swapped - 1, abs=1e-6)


def test_wins_ties_and_no_verdict():
    won = wins(torch.tensor([2.0, 1.0, 1.0, math.nan]), torch.tensor([1.0, 2.0, 1.0, 0.0]))
    assert won[:3].tolist() == [1.0, 0.0, 0.5] and won[3].isnan()
