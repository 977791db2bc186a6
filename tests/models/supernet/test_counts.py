"""Counting by cost: ranks name every architecture once, in random spaces too."""

import itertools
from collections import Counter

import torch
from pytest import fixture, mark

from oneloop.models.supernet.choice import Choice, Product
from oneloop.models.supernet.counts import Counts, below


@fixture(params=range(5))
def made(request) -> tuple[list[Choice], list[Product], Counts]:
    """Random choices a, b, c and d with random costs; a is fixed and multiplies the others."""
    generator = torch.Generator().manual_seed(request.param)

    def numbers(most: int, count: int) -> list[int]:
        return torch.randint(most, (count,), generator=generator).tolist()

    choices = [Choice(name, tuple(sorted(set(numbers(9, 4)))) or (1,)) for name in "abcd"]
    choices = [Choice(each.name, each.values, tuple(numbers(20, len(each.values)))) for each in choices]
    products = [Product(numbers(4, 1)[0], names) for names in (("a", "b"), ("a", "c", "c"), ("a",), ("d",))]
    return choices, products, Counts(choices, products, 11, {"a": choices[0].values[-1]})


def cost(choices: list[Choice], products: list[Product], found: dict[str, int]) -> int:
    own = sum(choice.costs[choice.values.index(found[choice.name])] for choice in choices)
    return 11 + own + sum(product.cost(found) for product in products)


def test_ranks_are_all_architectures_once_and_counts_are_those_of_enumeration(made):
    choices, products, counts = made
    every = [
        {"a": choices[0].values[-1], "b": b, "c": c, "d": d}
        for b, c, d in itertools.product(*(choice.values for choice in choices[1:]))
    ]
    costs = Counter(cost(choices, products, found) for found in every)
    assert counts.totals == sorted(costs)
    low, high = counts.totals[0], counts.totals[-1]
    for bounds in ((low, high), (low + 1, high - 1), (low, (low + high) // 2), (high, high), (low, low)):
        inside = [found for found in every if bounds[0] <= cost(choices, products, found) <= bounds[1]]
        assert counts.count(*bounds) == len(inside)
        ranked = [counts.architecture(rank, *bounds) for rank in range(len(inside))]
        assert sorted(map(sorted, map(dict.items, ranked))) == sorted(map(sorted, map(dict.items, inside)))


def test_nothing_lies_outside_and_an_empty_range_holds_nothing(made):
    counts = made[2]
    low, high = counts.totals[0], counts.totals[-1]
    assert counts.count(low - 9, low - 1) == counts.count(high + 1, high + 9) == 0
    assert counts.count(high, low - 1) == 0
    assert counts.count(low - 9, high + 9) == counts.count(low, high)


@mark.parametrize("count", [1, 2, 7, 2**62 - 1, 2**62, 2**200])
def test_an_integer_below_a_count_is_repeatable_and_in_range(count):
    first, second = (torch.Generator().manual_seed(4) for _ in range(2))
    drawn = [below(count, first) for _ in range(50)]
    assert drawn == [below(count, second) for _ in range(50)]
    assert min(drawn) >= 0 and max(drawn) < count
    assert len(set(drawn)) == min(count, 50)
