"""fair/costs.py: the reduction's identity, worked example 2, and that both estimators mean the truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.fair import costs
from oneloop.fair.panel import Violation
from tests.fair.small import WORKED

H = np.array(WORKED, dtype=bool)
PAIR = Violation(0, 1, 1 / 3, 1)


def literal(decisions, labels, pair, copies):
    """The reduction as written: C copies of the favoured with label 0, C of the disfavoured with label 1."""
    people = [*zip(decisions, labels, strict=True)]
    if pair is not None:
        people += [(decisions[pair.favoured], 0.0)] * copies + [(decisions[pair.disfavoured], 1.0)] * copies
    return sum((1 - y) if h else 0.5 for h, y in people)


@given(st.integers(2, 4), st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_identity_of_the_reduction(k, copies, seed):
    draw = np.random.Generator(np.random.Philox(seed))
    labels = draw.integers(0, 2, k).astype(float)
    a, b = draw.permutation(k)[:2]
    for pair in (None, Violation(int(a), int(b), 0.5, 1)):
        for h in itertools.product([0.0, 1.0], repeat=k):
            h = np.array(h)
            reported = copies if pair is not None else 0
            cost = costs.true(labels, pair, copies).of(h)
            assert cost == pytest.approx(literal(h, labels, pair, copies), abs=1e-12)
            wanted = costs.lagrangian(h, labels, pair, copies) / 2 + (1 - labels).sum() / 2 + reported
            assert cost == pytest.approx(wanted, abs=1e-12)


def test_worked_costs():
    chosen, cost, weight = H[0], np.array([1.0, 0.0]), np.array([1.5, 1.5])
    known = costs.estimated(chosen, cost, weight, PAIR, 2.0)
    assert known.accept.tolist() == [3.5, 0] and known.reject.tolist() == [1.5, 1.5]
    assert known.of(H).tolist() == [5, 3.5, 3]
    importance = costs.estimated(chosen, cost, weight, PAIR, 2.0, estimator="importance")
    assert importance.accept.tolist() == [4.5, 0] and importance.reject.tolist() == [0, 2.25]
    assert importance.of(H).tolist() == [6.75, 4.5, 2.25]
    true = costs.true(np.array([0.0, 1.0]), PAIR, 2.0).of(H)
    assert true.tolist() == [4.5, 3, 3]
    lagrangian = [costs.lagrangian(h.astype(float), np.array([0.0, 1.0]), PAIR, 2.0) for h in H]
    assert lagrangian == [4, 1, 1]
    assert np.allclose(true - np.array(lagrangian) / 2, 2.5)


@given(st.integers(1, 5), st.integers(1, 4), st.floats(0, 8), st.booleans(), st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_both_estimators_mean_the_truth(rules, k, penalty, reported, seed):
    """The expectation over the drawn rule is enumerated."""
    draw = np.random.Generator(np.random.Philox(seed))
    decisions = draw.random((rules, k)) < 0.5
    law = draw.dirichlet(np.ones(rules))
    labels, probs = draw.random(k), law @ decisions
    pair = Violation(0, k - 1, 0.1, 1) if reported and k > 1 else None
    for estimator in ("known", "importance"):
        mean = np.zeros(rules)
        for h, chance in zip(decisions, law, strict=True):
            weight = 1 / np.where(h, probs, 1 - probs)
            found = costs.estimated(h, np.where(h, 1 - labels, 0), weight, pair, penalty, estimator=estimator)
            mean += chance * found.of(decisions)
        true = costs.true(labels, pair, penalty).of(decisions)
        # an item nobody in H ever chooses is never estimated, and no rule pays it
        assert np.allclose(mean, true, atol=1e-9)


def test_without_a_report_or_penalty_the_fairness_terms_vanish():
    cost, weight = np.array([1.0, 0.0]), np.array([1.5, 1.5])
    for estimator in ("known", "importance"):
        plain = costs.estimated(H[0], cost, weight, None, 7.0, estimator=estimator)
        free = costs.estimated(H[0], cost, weight, PAIR, 0.0, estimator=estimator)
        assert plain.accept.tolist() == free.accept.tolist() == [1.5, 0]
        assert plain.reject.tolist() == free.reject.tolist()


def test_everybody_accepted_is_full_information():
    labels, ones = np.array([0.0, 1.0, 0.25]), np.ones(3)
    found = costs.estimated(ones.astype(bool), 1 - labels, ones, None, 0.0)
    assert np.allclose(found.of(np.eye(3)), costs.true(labels, None, 0.0).of(np.eye(3)), atol=1e-12)


def test_error_of_a_policy():
    assert costs.error(np.array([1.0, 0.25]), np.array([0.0, 1.0])) == 1.75
