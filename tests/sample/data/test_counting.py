"""Counting: right answers, a long tail, the same rows always."""

import statistics

import pytest

from oneloop.sample.data.counting import Counting


def test_rows_count_down():
    rows = Counting(size=200)
    for key in range(200):
        row = rows[key]
        number = int(row["prompt"].removesuffix(":"))
        assert row["answer"] == row["completion"] == " ".join(map(str, range(number - 1, -1, -1)))
        assert 1 <= number <= 60
    assert Counting(sigma=0.0, median=3)[5] == {"prompt": "3:", "answer": "2 1 0", "completion": "2 1 0"}


def test_lengths_have_a_long_tail_of_the_median_asked_for():
    numbers = [int(row["prompt"][:-1]) for row in (Counting(longest=1000)[key] for key in range(2000))]
    assert statistics.median(numbers) == pytest.approx(8, rel=0.15)
    assert max(numbers) > 8 * statistics.mean(numbers) > 9 * statistics.median(numbers)


def test_rows_depend_on_seed_and_key_alone():
    rows, other = Counting(size=50), Counting(size=50, seed=1)
    assert [rows[key] for key in range(50)] == [Counting(size=50)[key] for key in range(50)]
    assert [rows[key] for key in range(50)] != [other[key] for key in range(50)]
    with pytest.raises(IndexError, match="row 50 of counting: there are 50 rows"):
        rows[50]


@pytest.mark.parametrize("options", [{"size": 0}, {"median": 0}, {"sigma": -1}, {"longest": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Counting(**options)
