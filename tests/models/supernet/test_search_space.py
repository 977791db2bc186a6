"""Search spaces: counts, costs and draws against enumeration and worked examples."""

import itertools
from collections import Counter

import torch
from pytest import approx, fixture, mark, raises, warns

from oneloop.models.supernet.choice import Bin, Choice, Product
from oneloop.models.supernet.draws import sample_by_rejection, sample_operations
from oneloop.models.supernet.search_space import SearchSpace, below


def irwin_hall() -> SearchSpace:
    """Four operations of cost 1, 2 or 3."""
    return SearchSpace(*(Choice(name, (1, 2, 3), (1, 2, 3)) for name in "abcd"))


def multiplying() -> SearchSpace:
    """Depth x width x (heads + hidden), a vocabulary, and a kernel beside them."""
    return SearchSpace(
        Choice("depth", (1, 2, 3)),
        Choice("width", (4, 6)),
        Choice("heads", (1, 2)),
        Choice("hidden", (0, 3, 8)),
        Choice("kernel", (1, 3), (5, 7)),
        products=(
            Product(2, ("depth", "width", "heads")),
            Product(3, ("depth", "width", "hidden")),
            Product(1, ("width", "width")),
            Product(1, ("kernel", "kernel")),
        ),
        constant=100,
    )


def everything(space: SearchSpace) -> list[dict[str, int]]:
    """All architectures."""
    values = itertools.product(*(choice.values for choice in space.choices.values()))
    return [dict(zip(space.choices, found, strict=True)) for found in values]


@fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_sums_of_uniform_operations_gather_in_the_middle():
    space = irwin_hall()
    counts = [space.count(cost, cost) for cost in range(4, 13)]
    assert counts == [1, 4, 10, 16, 19, 16, 10, 4, 1]
    assert space.count() == 81
    mean = sum(cost * count for cost, count in enumerate(counts, 4)) / 81
    moments = [sum((cost - mean) ** power * n for cost, n in enumerate(counts, 4)) / 81 for power in (2, 4)]
    assert mean == approx(4 * 4 / 2)
    assert moments[0] == approx(4 * (9 - 1) / 12)
    assert moments[1] / moments[0] ** 2 - 3 == approx(-6 * (9 + 1) / (5 * 4 * (9 - 1)))


def test_the_published_histogram_of_seven_bins():
    counts = [132, 828, 2366, 3941, 3482, 1406, 312]
    shares = [round(count / sum(counts), 4) for count in counts]
    assert shares == approx([0.0106, 0.0664, 0.1898, 0.3161, 0.2793, 0.1128, 0.0250], abs=1e-4)
    assert max(counts) / min(counts) == approx(29.86, abs=0.005)


def test_draws_of_one_cost_are_uniform(generator):
    drawn = Counter(tuple(irwin_hall().sample(generator, 5, 5).values()) for _ in range(4000))
    assert set(drawn) == {(2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)}
    assert sum(found[0] == 1 for found in drawn.elements()) / 4000 == approx(3 / 4, abs=4 * 0.0069)


def test_all_costs_at_once_are_uniform_per_operation(generator):
    space = irwin_hall()
    drawn = Counter(tuple(space.sample(generator).values()) for _ in range(8100))
    statistic = sum((count - 100) ** 2 / 100 for count in drawn.values()) + 100 * (81 - len(drawn))
    assert statistic < 80 + 5 * (2 * 80) ** 0.5  # chi square with 80 degrees of freedom


def test_costs_that_multiply_agree_with_enumeration(generator):
    space = multiplying()
    costs = Counter(space.cost(found) for found in everything(space))
    found = {"depth": 2, "width": 6, "heads": 1, "hidden": 3, "kernel": 3}
    assert space.cost(found) == 100 + 2 * 2 * 6 * 1 + 3 * 2 * 6 * 3 + 36 + 9 + 7
    assert space.costs() == sorted(costs)
    assert (space.minimum, space.maximum) == (min(costs), max(costs))
    assert {cost: space.count(cost, cost) for cost in costs} == dict(costs)
    low, high = 200, 400
    inside = {tuple(found.values()) for found in everything(space) if low <= space.cost(found) <= high}
    assert space.count(low, high) == len(inside)
    drawn = Counter(tuple(space.sample(generator, low, high).values()) for _ in range(100 * len(inside)))
    assert set(drawn) == inside
    assert (
        sum((count - 100) ** 2 / 100 for count in drawn.values()) < len(inside) + 5 * (2 * len(inside)) ** 0.5
    )


def test_bins_cover_all_costs_and_empty_ones_join_a_neighbour():
    assert irwin_hall().bins(3) == (Bin(4, 6), Bin(7, 9), Bin(10, 12))
    space = SearchSpace(Choice("a", (1, 2, 3), (0, 1, 100)))
    with warns(UserWarning, match="1 of 3 bins hold no architecture .* 2 are left"):
        bins = space.bins(3)
    assert bins == (Bin(0, 67), Bin(68, 100))
    assert [space.count(*bin) for bin in bins] == [2, 1]
    with raises(ValueError, match=r"bins: got 4, must be in 1\.\.3"):
        space.bins(4)


def test_counts_and_draws_beyond_what_an_integer_of_64_bits_holds(generator):
    space = SearchSpace(*(Choice(f"o{index}", (1, 2, 3, 4), (1, 2, 3, 4)) for index in range(60)))
    assert space.count() == 4**60
    assert space.cost(space.sample(generator, 60, 60)) == 60
    assert 100 <= space.cost(space.sample(generator, 100, 101)) <= 101
    drawn = [below(3 * 2**70, generator) for _ in range(2000)]
    assert min(drawn) >= 0 and max(drawn) < 3 * 2**70
    assert sum(drawn) / 2000 / (3 * 2**70) == approx(0.5, abs=4 * 12**-0.5 / 2000**0.5)


def test_rejection_counts_its_draws_and_gives_up(generator):
    space = irwin_hall()
    found, draws = sample_by_rejection(space, generator, 4, 4, 10_000)
    assert found == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert draws > 1
    assert sample_by_rejection(space, generator, 4, 4, 1) == (None, 1)
    assert sample_operations(space, generator).keys() == space.choices.keys()


@mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Choice("w", (4, 2)),
            r"choice 'w': values: got \(4, 2\), must rise without repeats: \(2, 4\)",
        ),
        (lambda: Choice("w", (2, 2)), "must rise without repeats"),
        (lambda: Choice("w", ()), "must be integers from 0"),
        (lambda: Choice("w", (1.5,)), "must be integers from 0"),
        (lambda: Choice("w", (1, 2), (3,)), "cost: got 1 costs for 2 values"),
        (lambda: Choice("w", (1, 2), (3, -1)), r"cost: got \(3, -1\)"),
        (lambda: Product(2, ()), "must be a count from 0 of choices"),
        (lambda: SearchSpace(), "must be different names"),
        (lambda: SearchSpace(Choice("w", (1,)), Choice("w", (1,))), "must be different names"),
        (
            lambda: SearchSpace(Choice("width", (1,)), products=(Product(1, ("widht",)),)),
            "no choice is called 'widht'; did you mean 'width'",
        ),
        (
            lambda: SearchSpace(
                *(Choice(name, tuple(range(1, 401))) for name in "abc"),
                products=(Product(1, ("a", "b", "c")),),
            ),
            "choices a, b multiply and have 160000 combinations; at most 100000",
        ),
        (lambda: irwin_hall().cost({"a": 1}), "no value for b, c, d"),
        (lambda: irwin_hall().cost({"a": 4}), r"a: got 4, must be in \(1, 2, 3\)"),
        (lambda: irwin_hall().cost({"zz": 4}), "no choice is called 'zz'; there are a, b, c, d"),
        (
            lambda: irwin_hall().sample(torch.Generator(), 13, 20),
            "no architecture costs 13 to 20; costs go from 4 to 12, nearest: 12",
        ),
    ],
)
def test_bad_input_is_refused_in_words(make, words):
    with raises(ValueError, match=words):
        make()
