"""Standard errors: the gradient by sample, agreement with a bootstrap, coverage."""

import numpy as np
import pytest
from scipy.special import expit

from oneloop.measure.ranking import bradley_terry, plackett_luce, rank
from oneloop.measure.ranking.newton import climb, maximise
from oneloop.measure.ranking.select import only_models
from oneloop.measure.ranking.wins import count
from tests.measure.ranking.pools import mixed, pool_of


@pytest.mark.parametrize("tie_weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("binary", [False, True])
def test_cells_share_the_gradient_as_the_definition_says(tie_weight, binary):
    pool = mixed(levels=2 if binary else 4)
    theta = np.linspace(-1, 1, len(pool.models))
    chance, values = expit(theta[:, None] - theta), pool.matrix()
    found = bradley_terry.scores(pool, theta, tie_weight)
    sample = pool.sample
    for cell in range(len(found)):
        a, j = pool.model[cell], sample[cell]
        expected = 0.0
        for b in range(len(theta)):
            if b == a or np.isnan(values[b, j]):
                continue
            if values[a, j] == values[b, j]:
                expected += tie_weight * (1 - 2 * chance[a, b])
            else:
                expected += (values[a, j] > values[b, j]) - chance[a, b]
        assert found[cell] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", ["bradley_terry", "plackett_luce"])
def test_gradient_and_information_are_derivatives_and_cells_add_up_to_them(method):
    pool, m = mixed(), 7
    if method == "bradley_terry":
        objective = bradley_terry.bradley_terry(count(pool).win_matrix(1.0))
        cells = bradley_terry.scores
    else:
        objective = plackett_luce.plackett_luce(pool, 1.0)
        cells = lambda pool, theta, tie_weight: plackett_luce.scores(pool, theta)  # noqa: E731
    theta = np.linspace(1, -1, m) ** 3
    value, gradient, information = objective(theta)
    step = 1e-5 * np.eye(m)
    slopes = [(objective(theta + s)[0] - objective(theta - s)[0]) / 2e-5 for s in step]
    assert gradient == pytest.approx(slopes, abs=1e-5)
    bends = [-(objective(theta + s)[1] - objective(theta - s)[1]) / 2e-5 for s in step]
    assert information == pytest.approx(np.array(bends), abs=1e-4)
    summed = np.bincount(pool.model, cells(pool, theta, 1.0), m)
    verdicts, of_preferences = pool.preferences, bradley_terry.preference_scores(pool.preferences, theta, 1.0)
    summed += np.bincount(verdicts.left, of_preferences, m) - np.bincount(verdicts.right, of_preferences, m)
    assert summed == pytest.approx(gradient, abs=1e-9)


@pytest.mark.parametrize("method", ["bradley_terry", "plackett_luce"])
def test_cluster_robust_errors_agree_with_resampling_the_samples(method):
    pool = mixed(n=200, missing=0.3)
    robust = rank(pool, method)
    drawn = rank(pool, method, bootstrap=60)
    assert drawn.models == robust.models and drawn.scores == pytest.approx(robust.scores)
    assert (drawn.stderr / robust.stderr).mean() == pytest.approx(1, abs=0.15)
    assert (drawn.low < drawn.scores).all() and (drawn.scores < drawn.high).all()


def test_pairs_of_a_sample_are_not_independent():
    draw = np.random.Generator(np.random.Philox(0))
    pool = pool_of(np.linspace(0, 2, 12)[:, None] + draw.gumbel(size=(12, 200)))
    naive, robust = (rank(pool, errors=kind).stderr for kind in ("information", "cluster"))
    assert 1.5 < (robust / naive).mean() < 3


@pytest.mark.parametrize("method", ["bradley_terry", "plackett_luce"])
def test_intervals_hold_the_truth_as_often_as_they_say(method):
    theta, held = np.linspace(-1, 1, 8), []
    for seed in range(40):
        draw = np.random.Generator(np.random.Philox(seed))
        utility = theta[:, None] + draw.gumbel(size=(8, 200))
        utility[draw.random(utility.shape) < 0.5] = np.nan
        ranking = rank(pool_of(utility), method, prior_precision=1e-3)
        known = np.array([theta[int(name[1:])] for name in ranking.models])
        held.append((ranking.low <= known) & (known <= ranking.high))
    # 320 intervals that are not independent: 0.95 within about three standard errors of 40 pools
    assert 0.91 < np.mean(held) < 0.985


def test_bootstrap_of_means_and_of_borda():
    pool = only_models(mixed(n=200), np.arange(7) < 4)
    mean, drawn = rank(pool, "mean"), rank(pool, "mean", bootstrap=200)
    assert (drawn.stderr / mean.stderr).mean() == pytest.approx(1, abs=0.15)
    assert np.isfinite(rank(pool, "borda", bootstrap=20).stderr).all()


def test_newton_says_when_it_did_not_arrive():
    def runaway(theta):
        return float(theta[0] - theta[1]), np.array([1.0, -1.0]), np.zeros((2, 2))

    fit = maximise(runaway, np.zeros(2, dtype=np.int64), 1e-12)
    assert not fit.converged and fit.steps == 100


def test_a_step_that_falls_is_halved_until_it_does_not():
    def hill(theta):
        return float(-theta @ theta), -2 * theta, 2 * np.eye(2)

    start = np.array([1.0, -1.0])
    moved, there = climb(hill, start, hill(start), -5 * start, 0.0)
    assert moved == pytest.approx(-0.25 * start) and there[0] == pytest.approx(-0.125)
    stayed, _ = climb(hill, 0 * start, hill(0 * start), start, 0.0)
    assert np.abs(stayed).max() < 1e-5
