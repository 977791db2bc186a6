"""Chains of sums: rows are functions of (seed, key), and the critic agrees with what was spoiled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.sample.data.sum_chain import BREAK, SumChain, noisy_wrong_steps, wrong_steps

ROWS = st.builds(
    lambda length, seed, wrong, key: SumChain(length=length, seed=seed, wrong=wrong, size=50)[key],
    st.integers(1, 9),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 49),
)


def check(row, steps=None):
    steps = row["completion"].split(BREAK) if steps is None else steps
    return wrong_steps(steps, row["start"], row["operand"], row["length"])


@given(ROWS)
def test_only_spoiled_steps_are_wrong_and_the_rest_goes_on_from_them(row):
    steps = row["completion"].split(BREAK)
    assert len(steps) == row["length"] and row["prompt"] == f"{row['start']}+{row['operand']}:"
    spoiled = [k for k, s in enumerate(steps) if (int(s[0]) + int(s[2])) % 10 != int(s[4])]
    assert list(check(row)) == spoiled
    assert spoiled or steps[-1][-1] == row["answer"]


def test_the_share_of_wrong_steps():
    rows = [SumChain(length=8, wrong=0.5)[key] for key in range(200)]
    assert 0.45 < sum(len(check(row)) for row in rows) / 1600 < 0.55
    assert all(not check(SumChain(length=8)[key]) for key in range(20))
    assert all(len(check(SumChain(length=3, wrong=1.0)[key])) == 3 for key in range(20))


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        (["3+4=7\n\n", "7+4=1\n\n", "1+4=5"], []),
        (["3+4=8\n\n", "8+4=2\n\n", "2+4=6"], [0]),
        (["3+4=7", "3+4=7", "7+4=1"], [1]),
        (["3+4=7", "7+5=2", "2+4=6"], [1]),
        (["nonsense", "3+4=7"], [0]),
        (["3+4=7", "7+4=1", "1+4=5", "5+4=9"], [3]),
        (["3+4=²"], [0]),
        ([], []),
    ],
)
def test_each_step_is_judged_by_itself(steps, wrong):
    assert list(wrong_steps(steps, 3, 4, 3)) == wrong


def test_a_noisy_critic_errs_at_its_rates_and_by_its_seed():
    steps = ["3+4=7", "7+4=2"]
    calls = [noisy_wrong_steps(steps, 3, 4, 2, seed) for seed in range(2000)]
    assert calls == [noisy_wrong_steps(steps, 3, 4, 2, seed) for seed in range(2000)]
    assert sum(1 in call for call in calls) / 2000 == pytest.approx(0.8, abs=0.04)
    assert sum(0 in call for call in calls) / 2000 == pytest.approx(0.2, abs=0.04)


def test_rows_outside_are_refused():
    with pytest.raises(IndexError, match="row 7: there are 7 rows"):
        SumChain(size=7)[7]
    assert len(SumChain(size=7)) == 7 and SumChain(seed=1)[0] != SumChain(seed=2)[0]
