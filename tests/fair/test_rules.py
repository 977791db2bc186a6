"""fair/rules.py: classes, and separators that separate."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.fair.rules import (
    FunctionRules,
    LinearRules,
    check_constants,
    greedy_separator,
    random_linear_rules,
    unseparated,
)
from tests.fair.small import Table, numbered


def test_random_rules_hold_both_constants_and_all_rates():
    pool = np.random.Generator(np.random.Philox(0)).random((200, 3))
    rules = random_linear_rules(pool, 50)
    rate = rules.predict(pool).mean(1)
    assert len(rules) == 50 and rate[0] == 0 and rate[1] == 1
    assert rate.min() < 0.1 and rate.max() > 0.9
    assert np.array_equal(random_linear_rules(pool, 50).weights, rules.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_constants(rules, pool)


def test_functions_are_rules():
    rules = FunctionRules([lambda x: x[:, 0] > 0.5, lambda x: np.ones(len(x), dtype=int)])
    assert rules.predict(np.array([[0.0], [1.0]])).tolist() == [[False, True], [True, True]]


def test_a_class_without_constants_is_warned_of():
    with pytest.warns(UserWarning, match="do not hold 'reject all'"):
        check_constants(Table([[1, 1], [0, 1]]), numbered(2))


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_separator_separates(count, people, seed):
    rules = Table(np.random.Generator(np.random.Philox(seed)).random((count, people)) < 0.5)
    pool = numbered(people)
    chosen = greedy_separator(rules, pool)
    assert unseparated(rules, pool[chosen], pool) is None
    assert len(set(chosen.tolist())) == len(chosen) <= min(people, count - 1 if count > 1 else 0)


def test_thresholds_on_a_line_need_all_points():
    """n + 1 threshold rules on n points: no point is to spare."""
    rules = LinearRules(np.ones((6, 1)), np.arange(6) + 0.0)
    pool = numbered(5)
    assert sorted(greedy_separator(rules, pool).tolist()) == [0, 1, 2, 3, 4]
    assert unseparated(rules, pool[:4], pool) == (4, 5)


def test_bad_classes():
    with pytest.raises(ValueError, match="count must be at least 2"):
        random_linear_rules(np.zeros((3, 2)), 1)
    with pytest.raises(ValueError, match="must fit"):
        LinearRules(np.zeros((3, 2)), np.zeros(2))
