"""benchmarks/claims/intervals.py: intervals against known values, ratios of nothing refused."""

import math

import pytest
from benchmarks.claims.intervals import headline_interval, interval, table
from scipy import stats


def test_interval_is_students():
    values = [0.1, 0.4, 0.35, 0.8]
    mean, low, high = interval(values)
    expected = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected) and mean == pytest.approx(0.4125)
    assert interval([2.0, 2.0]) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        interval([1.0])


def test_a_table_has_every_cell_with_its_interval():
    (row,) = table([{"ours": {"accuracy": 0.5 + 0.1 * seed}} for seed in range(3)])
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert row == {
        "row": "ours",
        "accuracy": pytest.approx({"mean": 0.6, "low": 0.6 - half, "high": 0.6 + half}),
    }


def test_a_ratio_is_the_mean_of_the_seeds_ratios_and_refused_near_a_zero_denominator():
    assert headline_interval([(2.0, 1.0), (4.4, 1.1), (2.7, 0.9)])[0] == pytest.approx(3.0)
    for pairs in ([(1.0, 0.3), (1.0, -0.1), (1.0, 0.2)], [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 0.05)]):
        with pytest.raises(
            ValueError, match=r"is no headline: its denominator may be zero; claim the difference"
        ):
            headline_interval(pairs)
