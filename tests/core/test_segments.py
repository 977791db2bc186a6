"""segments.py against loops over groups, the equal-reward vectors every peer fails, and brute force."""

import itertools
import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core import segments
from tests.support.toy import forest

numbers = st.one_of(st.just(math.nan), st.integers(-5, 5).map(float), st.floats(-100, 100, width=32))
grouped = st.lists(st.tuples(numbers, st.integers(-3, 3)), min_size=1, max_size=20)
EQUAL_REWARDS = [round(0.05 * i, 2) for i in range(1, 20)] + [1 / 3, 2 / 3, 1.0, 2.0]


def split(pairs):
    values = torch.tensor([value for value, _ in pairs], dtype=torch.float64)
    by = torch.tensor([label for _, label in pairs])
    known = {}
    for value, label in pairs:
        known.setdefault(label, [])
        if not math.isnan(value):
            known[label].append(value)
    return values, by, [known[label] for _, label in pairs]


def close(measured, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


@given(grouped)
def test_total_count_mean_extremes(pairs):
    values, by, groups = split(pairs)
    close(segments.total(values, by), [sum(group) for group in groups])
    close(segments.count(values, by), [float(len(group)) for group in groups])
    close(segments.mean(values, by), [statistics.fmean(group) if group else math.nan for group in groups])
    low, high = segments.extremes(values, by)
    close(low, [min(group, default=math.inf) for group in groups])
    close(high, [max(group, default=-math.inf) for group in groups])


@given(grouped, st.sampled_from([0, 1]))
def test_standardise_is_the_naive_formula_or_exactly_zero(pairs, ddof):
    values, by, groups = split(pairs)
    expected = []
    for value, group in zip(values.tolist(), groups, strict=True):
        if math.isnan(value):
            expected.append(math.nan)
        elif max(group) - min(group) <= 1e-12 * max(map(abs, group)):
            expected.append(0.0)
        else:
            spread = statistics.stdev(group) if ddof else statistics.pstdev(group)
            expected.append((value - statistics.fmean(group)) / (spread + 0.5))
    measured = segments.standardise(values, by, ddof=ddof, eps=0.5)
    torch.testing.assert_close(
        measured, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6, equal_nan=True
    )


@given(grouped)
def test_standardised_groups_have_mean_0_and_std_1(pairs):
    values, by, _ = split(pairs)
    result = segments.standardise(values, by)
    mixed = ~segments.constant(values, by) & ~values.isnan()
    close(segments.mean(result, by)[mixed], [0.0] * int(mixed.sum()))
    close(segments.deviation(result, by)[mixed], [1.0] * int(mixed.sum()))


@given(grouped)
def test_leave_one_out_subtracts_the_mean_of_the_others(pairs):
    values, by, groups = split(pairs)
    expected = []
    for value, group in zip(values.tolist(), groups, strict=True):
        others = sum(group) - value if len(group) > 1 else value
        expected.append(value - others / max(len(group) - 1, 1))
    measured = segments.centre(values, by, leave_one_out=True)
    torch.testing.assert_close(
        measured, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-6, equal_nan=True
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ddof", [0, 1])
def test_equal_rewards_give_exactly_zero(dtype, ddof):
    for reward, size in itertools.product(EQUAL_REWARDS, range(2, 65)):
        values = torch.full((size,), reward, dtype=dtype)
        result = segments.standardise(values, torch.zeros(size, dtype=torch.long), ddof=ddof)
        assert result.eq(0).all(), (reward, size, result)


def test_equal_rewards_of_several_groups_at_once_and_an_outlier():
    values = torch.tensor([*[0.7] * 8, *[0.15] * 15, 0.95])
    by = torch.tensor([4] * 8 + [-1] * 16)
    result = segments.standardise(values, by)
    assert result[:8].eq(0).all()
    assert result[8:].abs().max() == pytest.approx(
        15 / 4
    )  # (n - 1) / sqrt(n) is the most a group of n can give


@given(grouped)
def test_relabelling_and_order_change_nothing(pairs):
    values, by, _ = split(pairs)
    order = torch.randperm(len(by), generator=torch.Generator().manual_seed(1))
    result = segments.standardise(values, by)
    # a sum in another order may differ in the last bit, a label never
    torch.testing.assert_close(
        segments.standardise(values, by * 1000 - 7), result, rtol=0, atol=1e-12, equal_nan=True
    )
    moved = segments.standardise(values[order], by[order])
    torch.testing.assert_close(moved, result[order], rtol=1e-9, atol=1e-9, equal_nan=True)


def test_labels_of_one_and_of_several_columns():
    first, second = torch.tensor([7, 7, -2, -2, 7]), torch.tensor([0, 1, 0, 0, 0])
    assert segments.labels(first).tolist() == [1, 1, 0, 0, 1]
    assert segments.labels(first, second).tolist() == [1, 2, 0, 0, 1]


def test_nothing_at_all():
    empty, by = torch.empty(0), torch.empty(0, dtype=torch.long)
    for function in (segments.total, segments.count, segments.mean, segments.centre, segments.standardise):
        assert function(empty, by).shape == (0,)


@given(st.integers(0, 10**6), st.integers(1, 25))
def test_path_total_sums_from_the_start(seed, count):
    rollouts = forest(seed, rows=8, count=count)
    parent = rollouts.actions.parent
    values = torch.randn(len(parent), dtype=torch.float64)
    expected = []
    for i, up in enumerate(parent.tolist()):
        expected.append(values[i].item() + (expected[up] if up >= 0 else 0.0))
    close(segments.path_total(values, parent), expected)


few = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=7)


@given(few, st.integers(1, 7), st.sampled_from([1.0, 1e-9, 1e9]), st.sampled_from([0.0, 1e4]))
def test_max_variance_subset_is_the_best_of_all(values, size, scale, offset):
    size = min(size, len(values))
    best = max(statistics.pvariance(subset) for subset in itertools.combinations(values, size))
    chosen = segments.max_variance_subset((torch.tensor(values).double() + offset) * scale, size)
    assert int(chosen.sum()) == size
    kept = [value for value, keep in zip(values, chosen.tolist(), strict=True) if keep]
    assert statistics.pvariance(kept) == pytest.approx(best, abs=1e-9)


def test_max_variance_subset_worked_example_and_bounds():
    advantage = torch.tensor([-5, -0.5, -0.5, -0.5, 0, 0, 0, 1.0])  # D3S: 3 top + 1 bottom beats 2 + 2
    assert advantage[segments.max_variance_subset(advantage, 4)].tolist() == [-5, 0, 0, 1]
    tied = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert segments.max_variance_subset(tied, 2).tolist() == [
        True,
        False,
        True,
        False,
    ]  # the earlier of equals
    for size in (0, 9):
        with pytest.raises(ValueError, match=f"size={size}"):
            segments.max_variance_subset(advantage, size)
