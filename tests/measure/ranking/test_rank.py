"""rank.py: identities of the maximum, agreement with other code, and what is refused or said."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from oneloop.measure.ranking import RankingError, from_matrix, from_preferences, kendall_tau, merged, rank
from oneloop.measure.ranking.wins import count
from tests.measure.ranking.pools import NAN, example_a, mixed, pool_of

METHODS = ("bradley_terry", "plackett_luce", "elo", "borda", "mean", "macro_mean")


@pytest.mark.parametrize("prior", [0.0, 1e-2, 3.0])
@pytest.mark.parametrize("tie_weight", [0.0, 0.5, 1.0])
def test_the_score_equations_hold(prior, tie_weight):
    pool = mixed()
    ranking = rank(pool, tie_weight=tie_weight, prior_precision=prior)
    theta = np.array([ranking.as_dict[name] for name in pool.models])
    wins = count(pool).win_matrix(tie_weight)
    residual = wins.sum(1) - ((wins + wins.T) * expit(theta[:, None] - theta)).sum(1) - prior * theta
    assert np.abs(residual).max() < 1e-8 and abs(theta.sum()) < 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_permuting_models_and_samples_changes_nothing(method):
    values = np.where(np.arange(40).reshape(5, 8) % 7 == 0, np.nan, (np.arange(40).reshape(5, 8) * 7) % 5)
    names, samples = list("abcde"), [f"s{j}" for j in range(8)]
    rows, columns = [3, 0, 4, 2, 1], [7, 2, 0, 1, 6, 5, 3, 4]
    first = rank(from_matrix(values, names, samples), method)
    shuffled = from_matrix(values[rows][:, columns], [names[r] for r in rows], [samples[c] for c in columns])
    second = rank(shuffled, method)
    if method != "elo":  # an order is drawn
        assert second.as_dict == pytest.approx(first.as_dict)
    assert sorted(second.models) == names and list(second.scores) == sorted(second.scores, reverse=True)


@pytest.mark.parametrize("method", ["bradley_terry", "plackett_luce"])
def test_duplicating_every_sample_leaves_the_maximum(method):
    pool = mixed()
    twice = pool.take(np.tile(np.arange(len(pool.samples)), 2))
    once, again = (rank(p, method, prior_precision=0) for p in (pool, twice))
    assert again.as_dict == pytest.approx(once.as_dict, abs=1e-8)
    naive = [rank(p, method, prior_precision=0, errors="information").stderr for p in (pool, twice)]
    assert naive[1] == pytest.approx(naive[0] / np.sqrt(2))


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_negating_scores_negates_bradley_terry(seed):
    draw = np.random.Generator(np.random.Philox(seed))
    values = draw.integers(0, 4, (4, 12)).astype(float)
    up, down = (rank(pool_of(v)).as_dict for v in (values, -values))
    assert {name: -score for name, score in down.items()} == pytest.approx(up, abs=1e-8)


def test_complete_binary_data_with_half_ties_is_ordered_as_its_means():
    draw = np.random.Generator(np.random.Philox(5))
    for _ in range(5):
        pool = pool_of((draw.random((12, 30)) < draw.random((12, 1))).astype(float))
        assert kendall_tau(rank(pool, tie_weight=0.5), rank(pool, "mean")).tau == pytest.approx(1)


def test_an_infinite_prior_knows_nothing():
    assert np.abs(rank(mixed(), prior_precision=1e9).scores).max() < 1e-6


def test_it_is_logistic_regression_on_halved_ties():
    from sklearn.linear_model import LogisticRegression

    pool = mixed()
    wins, m = count(pool).win_matrix(0.5), len(pool.models)
    design, outcome, weight = [], [], []
    for a, b in np.argwhere(wins > 0):
        for sign in (1, -1):  # each game from both sides, so that there are two classes
            design.append(sign * (np.eye(m)[a] - np.eye(m)[b]))
            outcome.append(sign > 0)
            weight.append(wins[a, b])
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=2000)
    theirs = model.fit(design, outcome, sample_weight=weight).coef_[0]
    ours = rank(pool, tie_weight=0.5, prior_precision=0).as_dict
    assert [ours[name] for name in pool.models] == pytest.approx(theirs - theirs.mean(), abs=1e-5)


def test_plackett_luce_with_two_measurements_a_sample_is_bradley_terry():
    values = np.array([[3, 1, NAN, 2, 0], [1, 2, 5, NAN, 1], [NAN, NAN, 4, 3, NAN], [NAN] * 5])[:3]
    first, second = (rank(pool_of(values), m, tie_weight=0) for m in ("bradley_terry", "plackett_luce"))
    assert second.as_dict == pytest.approx(first.as_dict, abs=1e-8)
    assert second.covariance == pytest.approx(first.covariance, abs=1e-8)


def test_borda_and_means_by_hand():
    pool = merged(
        [
            from_matrix(np.array([[1.0, 0, 1], [1, 1, NAN]]), ["x", "y"], ["a1", "a2", "a3"], source="a"),
            from_matrix(np.array([[0.0], [1.0]]), ["x", "y"], ["b1"], source="b"),
        ]
    )
    assert rank(pool, "borda").as_dict == {"x": 0, "y": 2}
    mean = rank(pool, "mean")
    assert mean.as_dict == pytest.approx({"x": 0.5, "y": 1.0})
    error = np.std([1, 0, 1, 0], ddof=1) / 2
    assert dict(zip(mean.models, mean.stderr, strict=True)) == pytest.approx({"x": error, "y": 0.0})
    assert rank(pool, "macro_mean").as_dict == pytest.approx({"x": 1 / 3, "y": 1.0})


# what is said and what is refused


def two_worlds():
    ones = from_matrix(np.array([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]]), list("abc"), ["s1", "s2", "s3"])
    return merged([ones, from_matrix(np.array([[1.0, 0, 1], [0, 1, 0]]), ["d", "e"], ["t1", "t2", "t3"])])


@pytest.mark.parametrize("method", ["bradley_terry", "plackett_luce", "elo", "borda"])
def test_models_without_common_samples_are_refused_or_ranked_apart(method):
    pool = two_worlds()
    with pytest.raises(
        RankingError, match=r"2 groups of models share no comparison: 'a', 'b', 'c'; 'd', 'e'"
    ):
        rank(pool, method)
    apart = rank(pool, method, disconnected="separate")
    assert apart.component.tolist() == [0, 0, 0, 1, 1] and "ranked by itself" in apart.notes[0]
    assert apart.place.tolist()[3] == 1
    with pytest.warns(UserWarning, match="nothing was measured"):
        alone = rank(pool.take(np.array([3, 4, 5])), method, disconnected="separate")
    if method in ("bradley_terry", "plackett_luce"):
        for group in (0, 1):
            assert abs(apart.scores[apart.component == group].sum()) < 1e-9
        assert apart.as_dict["d"] == pytest.approx(alone.as_dict["d"], abs=1e-9)
    with pytest.raises(RankingError, match="groups that cannot be compared"):
        kendall_tau(apart, apart)


def test_without_a_prior_each_group_is_pinned_by_itself():
    apart = rank(two_worlds(), tie_weight=1, prior_precision=0, disconnected="separate")
    assert apart.converged and np.isfinite(apart.scores).all()


def test_means_of_different_samples_are_computed_and_said():
    ranking = rank(two_worlds(), "mean")
    assert "Their means are of different samples" in ranking.notes[0] and not ranking.component.any()


def test_unbeaten_and_winless_models_are_flagged():
    ranking = rank(pool_of(np.array([[2.0, 2, 2], [1, 1, 0], [0, 0, 1]])), tie_weight=0)
    assert ranking.unbeaten == ("m0",) and ranking.winless == ()
    assert ranking.notes == ("'m0' never lost: only the prior keeps that score finite.",)
    ranking = rank(pool_of(np.array([[2.0, 2], [1, 1]])))
    assert ranking.unbeaten == ("m0",) and ranking.winless == ("m1",)


def test_unmeasured_models_are_left_out_warned_of_and_listed():
    values = np.array([[2.0, 0], [1, 1], [NAN, NAN]])
    with pytest.warns(UserWarning, match="nothing was measured: 'm2'"):
        ranking = rank(pool_of(values))
    assert ranking.unmeasured == ("m2",) and set(ranking.models) == {"m0", "m1"}
    assert "'m2'" in ranking.notes[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "bradly_terry"}, "method: must be one of bradley_terry, .*got 'bradly_terry'"),
        ({"tie_weight": -1}, "tie_weight: must be at least 0 and finite, got -1"),
        ({"prior_precision": NAN}, "prior_precision: .*got nan"),
        ({"method": "elo", "bootstrap": 5}, "bootstrap: .*other than elo"),
        ({"bootstrap": 1}, "bootstrap: needs 2 resamples"),
        ({"bootstrap": 5, "prior_precision": 0}, "bootstrap: needs prior_precision above 0"),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(RankingError, match=said):
        rank(mixed(), **options)


def test_nothing_to_rank_and_nothing_to_average():
    with pytest.raises(RankingError, match="nothing to rank: SamplePool\\(2 models, 0 samples"):
        rank(mixed(m=2).take(np.zeros(0, dtype=np.int64)))
    verdicts = from_preferences({"model_a": ["x"], "model_b": ["y"], "winner": ["tie"]})
    with pytest.raises(RankingError, match="mean: 'x', 'y' have preferences only"):
        rank(verdicts, "mean")


def test_places_share_what_cannot_be_told_apart():
    ranking = rank(pool_of(np.array([[1.0] * 40, [0.0] * 40, [0.0] * 40])))
    assert ranking.place.tolist() == [1, 2, 2]
    best, worst = ranking.places()
    assert best.tolist() == [1, 2, 2] and worst.tolist() == [1, 3, 3]
    assert dataclasses.replace(ranking, covariance=None).places() is None
    row = ranking.rows()[0]
    assert row["model"] == "m0" and row["low"] < row["score"] < row["high"] and row["measurements"] == 40


def test_elo_needs_no_more_than_a_seed():
    pool = example_a()
    assert rank(pool, "elo", seed=1).as_dict == rank(pool, "elo", seed=1).as_dict
    assert rank(pool, "elo", seed=1).as_dict != rank(pool, "elo", seed=2).as_dict
    assert rank(pool, "elo").scores.sum() == pytest.approx(3000)
