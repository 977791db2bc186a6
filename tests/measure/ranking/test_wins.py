"""wins.py against the definition; what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.measure.ranking import from_preferences
from oneloop.measure.ranking import pool as pool_module
from oneloop.measure.ranking.pool import blocks
from oneloop.measure.ranking.wins import add_levels, add_pairs, count, two_levels
from tests.measure.ranking.pools import brute_force, example_a, matrices, mixed, pool_of


@given(matrices())
@settings(deadline=None)
def test_counts_are_those_of_the_definition(values):
    counts, (wins, ties) = count(pool_of(values)), brute_force(values)
    assert np.array_equal(counts.wins, wins) and np.array_equal(counts.ties, ties)


@given(matrices(), st.sampled_from([np.exp, lambda x: 10 * x, lambda x: x**3 - 5, np.sqrt]))
@settings(deadline=None)
def test_increasing_transforms_change_nothing_and_decreasing_ones_transpose(values, transform):
    before, after, turned = (count(pool_of(v)) for v in (values, transform(values), -values))
    assert np.array_equal(before.wins, after.wins) and np.array_equal(before.ties, after.ties)
    assert np.array_equal(before.wins.T, turned.wins) and np.array_equal(before.ties, turned.ties)


def test_binary_scores_are_matrix_products():
    draw = np.random.Generator(np.random.Philox(3))
    s = (draw.random((9, 200)) < 0.4).astype(float)
    counts = count(pool_of(s))
    assert np.array_equal(counts.wins, s @ (1 - s).T)
    same = s @ s.T + (1 - s) @ (1 - s).T
    assert np.array_equal(counts.ties, same - np.diag(np.diag(same)))


@pytest.mark.parametrize("most", [1, 7, 100])
def test_small_blocks_give_the_same(monkeypatch, most):
    pool = mixed()
    whole = count(pool)
    for module in (pool_module, __import__("oneloop.measure.ranking.wins", fromlist=["MOST"])):
        monkeypatch.setattr(module, "MOST", most)
    again = count(pool)
    assert np.array_equal(whole.wins, again.wins) and np.array_equal(whole.ties, again.ties)
    sizes = [len(block.cells) * block.cells.shape[1] for block in blocks(pool)]
    assert sum(sizes) == pool.measured[pool.measured > 1].sum()
    assert all(len(block.cells) == 1 or block.cells.size <= most for block in blocks(pool))


def test_both_ways_of_counting_two_levels_agree():
    for block in blocks(pool_of((np.arange(40).reshape(5, 8) % 3 > 0).astype(float))):
        assert two_levels(block)
        pairs, products = ([np.zeros((5, 5)), np.zeros((5, 5))] for _ in range(2))
        add_pairs(block, *pairs)
        add_levels(block, *products)
        assert np.array_equal(pairs, products)


def test_a_tie_weight_changes_nothing_without_ties_and_lone_measurements_never_do():
    pool = pool_of(np.array([[3.0, 1, np.nan], [2, 2, np.nan], [1, 3, 7]]))
    assert not count(pool).ties.any()
    assert np.array_equal(count(pool).win_matrix(0), count(pool).win_matrix(1))
    assert np.array_equal(count(pool).wins, count(pool.take(np.array([0, 1]))).wins)


def test_a_constant_sample_is_ties_alone():
    counts = count(pool_of(np.ones((3, 1))))
    assert not counts.wins.any() and counts.ties.sum() == 6


def test_scores_within_the_tolerance_are_ties_and_ties_stay_transitive():
    pool = pool_of(np.array([[0.50], [0.55], [0.60], [0.90]]))
    counts = count(pool, tie_tolerance=0.051)
    assert counts.wins.tolist() == [[0] * 4] * 3 + [[1, 1, 1, 0]]
    assert counts.ties[:3, :3].sum() == 6  # a chain: the ends are 0.1 apart
    assert count(example_a(), 0.21).ties[0, 2] == 1


def test_preferences_count_with_their_weight():
    rows = {
        "model_a": ["x", "y", "x"],
        "model_b": ["y", "x", "z"],
        "winner": ["model_a", "model_b", "tie"],
        "weight": [2.0, 3.0, 0.5],
    }
    counts = count(from_preferences(rows, weight="weight"))
    assert counts.wins[0].tolist() == [0, 5, 0] and counts.wins.sum() == 5
    assert counts.ties[0, 2] == counts.ties[2, 0] == 0.5
