import numpy as np
import pytest

from oneloop.core import draws
from oneloop.sample.data.counting import Counting
from oneloop.sample.plan.source import IN_MEMORY, Scattered, Source


def keys(source, count):
    return [source.next()[0] for _ in range(count)]


def test_an_epoch_is_every_row_once_and_the_next_another_order():
    source = Source(Counting(size=7), True, None, 3)
    first, second = keys(source, 7), keys(source, 7)
    assert sorted(first) == sorted(second) == list(range(7)) and first != second


def test_the_order_goes_on_from_the_number_handed_out():
    whole = keys(Source(Counting(size=5), True, None, 1), 15)
    resumed = Source(Counting(size=5), True, None, 1)
    resumed.handed_out = 8
    assert keys(resumed, 7) == whole[8:]


def test_so_many_epochs_and_no_more():
    source = Source(Counting(size=2), False, 2, 0)
    assert keys(source, 4) == [0, 1, 0, 1]
    assert source.exhausted and source.next() is None


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        Source([], True, None, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 17, 1000, 1024, 1025])
def test_every_number_is_at_one_place(size):
    order = Scattered(size, 5)
    assert sorted(order[place] for place in range(size)) == list(range(size))


def test_all_orders_of_three_are_about_as_likely():
    counts: dict[tuple[int, ...], int] = {}
    trials = 1200
    for key in draws.mix(0, np.arange(trials)).tolist():
        order = tuple(Scattered(3, key)[place] for place in range(3))
        counts[order] = counts.get(order, 0) + 1
    # chi square of 5 degrees of freedom: above 20.5 once in a thousand, and the keys are fixed
    expected = trials / 6
    assert len(counts) == 6
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 20.5


def test_a_place_far_from_another_has_a_number_that_is_not_near():
    order = Scattered(10**9, 7)
    numbers = np.array([order[place] for place in range(2000)])
    assert len(set(numbers.tolist())) == 2000 and numbers.min() >= 0 and numbers.max() < 10**9
    # ranks of neighbours are uncorrelated: the sample correlation of 1999 pairs has deviation 1/sqrt(1999)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / np.sqrt(1999)


def test_a_thousand_million_rows_are_shuffled_without_a_list_of_them():
    source = Source(Counting(size=10**9), True, None, 0)
    asked = keys(source, 20)
    assert len(set(asked)) == 20 and max(asked) > IN_MEMORY
    source.handed_out = 5
    assert keys(source, 15) == asked[5:]
