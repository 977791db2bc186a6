"""select.py and agreement.py: what is blanked, what is drawn, how rankings agree."""

import numpy as np
import pytest

from oneloop.measure.ranking import (
    RankingError,
    informative,
    kendall_tau,
    random_samples,
    rank,
    sparsify,
    top_overlap,
)
from oneloop.measure.ranking.select import only_models, spread
from tests.measure.ranking.pools import mixed, pool_of


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 0.99])
def test_entries_are_blanked_model_by_model(fraction):
    pool = mixed(n=100)
    sparse = sparsify(pool, fraction, seed=3)
    before, after = (np.bincount(p.model, minlength=7) for p in (pool, sparse))
    assert (before - after).tolist() == [int(np.ceil(round(fraction * count, 9))) for count in before]
    kept = ~np.isnan(sparse.matrix())
    assert np.array_equal(sparse.matrix()[kept], pool.matrix()[kept])
    assert len(sparse.preferences) == len(pool.preferences)


def test_draws_depend_on_the_seed_and_more_missing_means_a_part_of_less():
    pool = mixed(n=100)
    a, b, c = (~np.isnan(sparsify(pool, f, seed=s).matrix()) for f, s in ((0.5, 1), (0.5, 2), (0.8, 1)))
    assert (a != b).any() and not (c & ~a).any()


def test_whole_samples_are_blanked():
    pool = mixed(n=100)
    assert [len(sparsify(pool, f, "samples").samples) for f in (0, 0.9, 0.95, 0.93)] == [100, 10, 5, 7]
    with pytest.raises(RankingError, match="fraction: must be at least 0 and below 1, got 1"):
        sparsify(pool, 1)


def test_spread_is_highest_where_half_solve_it():
    scores = np.array([[1, 1, 1, 1, 3], [1, 1, 1, 0, 2], [1, 1, 0, 0, 1], [1, 0, 0, 0, 0]], dtype=float)
    assert spread(pool_of(scores)) == pytest.approx([0, 2 * 0.75 * 0.25, 0.5, 2 * 0.75 * 0.25, 0.75])


def test_informative_samples_are_among_those_of_highest_spread():
    draw = np.random.Generator(np.random.Philox(0))
    scores = (draw.random((20, 300)) < np.linspace(0.01, 0.99, 300)).astype(float)
    pool = pool_of(scores)
    chosen, again = informative(pool, 8, seed=1), informative(pool, 8, seed=1)
    assert chosen.samples.tolist() == again.samples.tolist() != informative(pool, 8, seed=2).samples.tolist()
    assert len(set(chosen.samples)) == 8 and spread(chosen).min() >= np.sort(spread(pool))[-80]
    assert spread(random_samples(pool, 100)).mean() < spread(informative(pool, 10)).mean()
    for choose in (informative, random_samples):
        with pytest.raises(RankingError, match="size: must be 1 to 300, the samples there are, got 301"):
            choose(pool, 301)


def test_only_some_models_with_the_preferences_among_them():
    pool = mixed()
    kept = np.array([True, False, True, True, False, True, True])
    smaller = only_models(pool, kept)
    assert np.array_equal(smaller.matrix(), pool.matrix()[kept], equal_nan=True)
    assert len(smaller.preferences) == 10
    names = {pool.models[i] for i in np.flatnonzero(kept)}
    assert {smaller.models[i] for i in smaller.preferences.left} <= names


def test_agreement_intersects_and_reports_what_it_dropped():
    first, second = {"a": 3.0, "b": 2.0, "c": 1.0, "x": 9.0}, {"a": 1.0, "b": 2.0, "c": 0.0, "y": 5.0}
    found = kendall_tau(first, second)
    assert found.tau == pytest.approx(1 / 3) and found.models == 3 and found.dropped == ("x", "y")
    assert kendall_tau(first, {**first, "a": 2.0 + 1e-12}).tau < 1  # equal within 1e-9
    with pytest.raises(RankingError, match="two models that both rank, got 1"):
        kendall_tau({"a": 1.0}, first)
    assert top_overlap(first, second, 2) == 0 and top_overlap(first, second, 3) == pytest.approx(2 / 3)
    with pytest.raises(RankingError, match="k: must be 1 to 4, the models ranked, got 5"):
        top_overlap(first, second, 5)


def test_a_ranking_agrees_with_itself():
    ranking = rank(mixed())
    assert kendall_tau(ranking, ranking).tau == pytest.approx(1) and top_overlap(ranking, ranking, 3) == 1
