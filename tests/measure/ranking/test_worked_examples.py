"""Numbers worked out by hand or with independent code (numpy, choix), to 1e-6 and better."""

import math

import numpy as np
import pytest

from oneloop.measure.ranking import from_preferences, kendall_tau, rank
from oneloop.measure.ranking.elo import elo
from oneloop.measure.ranking.pool import RankingError
from oneloop.measure.ranking.wins import count
from tests.measure.ranking.pools import example_a, of_orders

ORDERS = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0]]


def test_wins_and_ties_of_example_a():
    counts = count(example_a())
    assert counts.wins.tolist() == [[0, 2, 3], [0, 0, 2], [0, 1, 0]]
    assert counts.ties.tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert counts.games.tolist() == [[0, 3, 3], [3, 0, 4], [3, 4, 0]]
    assert counts.win_rate[1].tolist() == pytest.approx([0.5 / 3, math.nan, 2.5 / 4], nan_ok=True)


@pytest.mark.parametrize(
    ("tie_weight", "prior", "expected"),
    [
        (1.0, 0.0, (1.251017586, -0.295033091, -0.955984495)),
        (0.5, 0.0, (1.632201681, -0.466360710, -1.165840971)),
        (1.0, 1.0, (0.756781219, -0.164739370, -0.592041849)),
        (0.5, 1.0, (0.839657619, -0.204691664, -0.634965954)),
    ],
)
def test_bradley_terry_of_example_a(tie_weight, prior, expected):
    ranking = rank(example_a(), tie_weight=tie_weight, prior_precision=prior)
    assert ranking.models == ("A", "B", "C") and ranking.converged
    assert ranking.scores == pytest.approx(expected, abs=1e-8)


def test_without_ties_example_a_has_no_finite_maximum_and_the_model_is_named():
    with pytest.raises(RankingError, match=r"no finite maximum: 'A' never lose.*prior_precision above 0"):
        rank(example_a(), tie_weight=0, prior_precision=0)


def test_plackett_luce_and_bradley_terry_differ_on_example_b():
    pool = of_orders(ORDERS)
    whole = rank(pool, "plackett_luce", prior_precision=0)
    assert whole.scores == pytest.approx((0.320995888, 0.055025721, -0.376021609), abs=1e-8)
    assert whole.log_likelihood == pytest.approx(-6.903972709, abs=1e-8)
    broken = rank(pool, "bradley_terry", prior_precision=0)
    assert broken.scores == pytest.approx((0.343006406, 0, -0.343006406), abs=1e-8)


def test_elo_depends_on_the_order_of_games():
    games = [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 0.5), (2, 1, 1.0)]
    assert elo(games, 3) == pytest.approx((1003.988487, 996.000132, 1000.011381), abs=1e-6)
    assert elo(games[::-1], 3) == pytest.approx((1003.988422, 996.045983, 999.965595), abs=1e-6)


def test_two_models_by_hand():
    rows = {"model_a": ["x"] * 10, "model_b": ["y"] * 10, "winner": ["model_a"] * 7 + ["model_b"] * 3}
    ranking = rank(from_preferences(rows), prior_precision=0)
    assert ranking.as_dict == pytest.approx({"x": 0.4236489302, "y": -0.4236489302}, abs=1e-9)
    # one verdict a sample: the error is the binomial one of half the log-odds, corrected by n/(n-1)
    error = math.sqrt(1 / (10 * 0.7 * 0.3)) / 2 * math.sqrt(10 / 9)
    assert ranking.stderr == pytest.approx([error, error])


def test_kendall_tau_of_four():
    first, second = dict(zip("abcd", (1, 2, 3, 4), strict=True)), dict(zip("abcd", (1, 3, 2, 4), strict=True))
    assert kendall_tau(first, second).tau == pytest.approx(2 / 3)


def test_plackett_luce_is_consistent_and_so_is_breaking_into_all_pairs():
    theta = np.array([2, 1.2, 0.4, -0.4, -1.2, -2])
    draw = np.random.Generator(np.random.Philox(1))
    utility = theta[:, None] + draw.gumbel(size=(6, 4000))
    pool = of_orders(np.argsort(-utility, axis=0).T.tolist())
    for method in ("plackett_luce", "bradley_terry"):
        ranking = rank(pool, method, prior_precision=0)
        assert ranking.models == tuple(f"m{a}" for a in range(6))
        assert np.abs((ranking.scores - theta) / ranking.stderr).max() < 3.5
        assert ranking.stderr.max() < 0.08
