"""width.py and passk.py: closed forms against worked numbers, simulation and enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.measure.statistics.passk import pass_at_k, unbiased_pass_at_k
from oneloop.measure.width.closed_forms import (
    expected_mixed_groups,
    expected_unsampled_second_moment,
    mixed_group_probability,
    unsampled_second_moment_bound,
)

RATES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("a", "b", "n", "share"),
    [
        (1, 1, 16, 0.882353),
        (1, 1, 512, 0.996101),
        (0.3, 1, 16, 0.595603),
        (0.3, 1, 512, 0.861352),
        (0.159, 0.159, 16, 0.379),
        (0.159, 0.159, 512, 0.643),
    ],
)
def test_groups_with_signal_when_pass_rates_follow_a_beta_law(a, b, n, share):
    assert expected_mixed_groups(a, b, n) == pytest.approx(share, abs=1e-6 if a >= 0.3 else 5e-4)
    rates = (np.arange(200_000) + 0.5) / 200_000
    if a == 1:
        assert mixed_group_probability(rates, n).mean() == pytest.approx(share, abs=1e-5)


def test_the_beta_forms_are_the_mean_of_the_pointwise_form():
    rates = np.random.Generator(np.random.Philox(0)).beta(0.4, 0.9, 400_000)
    for n in (2, 16, 256):
        measured = mixed_group_probability(rates, n)
        error = 5 * measured.std() / math.sqrt(len(rates))
        assert abs(measured.mean() - expected_mixed_groups(0.4, 0.9, n)) < error


@given(RATES, st.integers(1, 600))
def test_wider_groups_carry_signal_more_often(rate, n):
    one, more = mixed_group_probability([rate], n), mixed_group_probability([rate], n + 1)
    assert 0 <= one <= more + 1e-12 and mixed_group_probability(rate, 1) == pytest.approx(0, abs=1e-12)
    assert mixed_group_probability(0.0, n) == mixed_group_probability(1.0, n) == 0


def test_unsampled_second_moment():
    p = [0.5, 0.3, 0.2]
    for n, moment in {0: 0.38, 1: 0.22, 2: 0.1322, 10: 0.00708139}.items():
        assert expected_unsampled_second_moment(p, n) == pytest.approx(moment, abs=1e-8)
    for n, bound in {1: 0.25, 4: 0.08192, 64: 0.00570361}.items():
        assert unsampled_second_moment_bound(n) == pytest.approx(bound, abs=1e-8)
    assert unsampled_second_moment_bound(512) == pytest.approx(1 / (math.e * 512), rel=2e-3)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=50), st.integers(0, 200))
def test_no_law_exceeds_the_bound_and_it_falls_with_n(weights, n):
    p = np.array(weights) / sum(weights)
    moment = expected_unsampled_second_moment(p, n)
    assert moment <= unsampled_second_moment_bound(n) + 1e-12
    assert expected_unsampled_second_moment(p, n + 1) <= moment
    if n:  # the law for which the bound is exact
        exact = expected_unsampled_second_moment(np.full(n + 1, 1 / (n + 1)), n)
        assert exact == pytest.approx(unsampled_second_moment_bound(n))


def test_pass_at_k():
    assert pass_at_k(0.3, 4) == pytest.approx(0.7599)
    assert unbiased_pass_at_k(10, 3, 4) == pytest.approx(0.833333, abs=1e-6)
    assert unbiased_pass_at_k([4, 4, 4], [0, 2, 4], 1) == pytest.approx([0, 0.5, 1])
    assert pass_at_k([0.0, 1.0], 512).tolist() == [0, 1]
    assert pass_at_k(1e-12, 1000) == pytest.approx(1e-9)  # no cancellation


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_the_unbiased_estimate_counts_subsets(case):
    n, c, k = case
    subsets = list(itertools.combinations(range(n), k))
    hits = sum(any(i < c for i in subset) for subset in subsets)
    assert unbiased_pass_at_k(n, c, k) == pytest.approx(hits / len(subsets), abs=1e-12)


@given(RATES, st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_the_unbiased_estimate_is_unbiased(rate, case):
    n, k = case
    c = np.arange(n + 1)
    binomial = np.array([math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(n + 1)])
    assert binomial @ unbiased_pass_at_k(n, c, k) == pytest.approx(pass_at_k(rate, k), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mixed_group_probability(1.2, 4), r"pass_rate must lie in \[0, 1\], got 1.2"),
        (lambda: mixed_group_probability(0.2, 0), "rollouts must be at least 1, got 0"),
        (lambda: expected_mixed_groups(0, 1, 4), "needs a > 0 and b > 0, got 0 and 1"),
        (lambda: expected_unsampled_second_moment([1.5], 1), r"probabilities must lie in \[0, 1\]"),
        (lambda: unsampled_second_moment_bound(-1), "rollouts must be at least 0, got -1"),
        (lambda: pass_at_k(-0.1, 2), r"pass_rate must lie in \[0, 1\]"),
        (lambda: pass_at_k(0.1, 0), "k must be at least 1, got 0"),
        (lambda: unbiased_pass_at_k(4, 5, 1), r"correct must lie in 0..rollouts"),
        (lambda: unbiased_pass_at_k([4, 9], [1, 1], 5), r"k must be in 1..4 .*got 5"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()
