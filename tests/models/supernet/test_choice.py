"""Choices and products: costs, powers, and which choices to fix so that a cost becomes a sum."""

import itertools

import torch
from pytest import approx, mark, raises

from oneloop.models.supernet.choice import Bin, Choice, Product, separating


def test_a_product_counts_each_factor_and_a_choice_without_costs_is_free():
    product = Product(3, ("width", "depth", "width"))
    assert dict(product.powers) == {"width": 2, "depth": 1}
    assert product.cost({"width": 5, "depth": 2, "other": 9}) == 3 * 5 * 5 * 2
    assert product.cost({"width": 5, "depth": 0}) == 0
    assert Choice("kernel", (1, 3, 5)).costs == (0, 0, 0)
    assert Choice("kernel", (0, 3), (7, 8)).costs == (7, 8)
    assert Bin(3, 8).middle == 5.5 and Bin(4, 4).middle == 4


@mark.parametrize(
    ("products", "fixed"),
    [
        ([], []),
        ([("a", "a")], []),
        ([("a", "b")], ["a"]),
        ([("a", "b"), ("b", "c"), ("b", "d")], ["b"]),
        ([("a", "b"), ("c", "d")], ["a", "c"]),
        ([("a", "b", "c")], ["a", "b"]),
    ],
)
def test_what_is_fixed_leaves_no_product_of_two_others(products, fixed):
    assert separating([Product(1, names) for names in products]) == fixed


@mark.parametrize("seed", range(6))
def test_at_random_no_product_of_two_free_choices_is_left(seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(6, (5, 3), generator=generator).tolist()
    products = [Product(1, tuple("abcdef"[place] for place in places)) for places in drawn]
    fixed = separating(products)
    assert all(len(set(product.choices) - set(fixed)) < 2 for product in products)
    assert len(set(fixed)) == len(fixed)
    for dropped in fixed[-1:]:  # the last was needed: without it some product has two free choices
        rest = set(fixed) - {dropped}
        assert any(len(set(product.choices) - rest) > 1 for product in products)


@mark.parametrize("value", [-1, 1.0, True, "2"])
def test_what_is_no_count_is_refused(value):
    with raises(ValueError, match="choice 'width': values: got .* must be integers from 0"):
        Choice("width", (value, 9))
    with raises(ValueError, match="choice 'width': cost: got .* must be integers from 0"):
        Choice("width", (1, 2), (value, 9))
    with raises(ValueError, match="product: got .* must be a count from 0 of choices"):
        Product(value, ("width",))


def test_middles_of_bins_over_a_range_are_equally_far_apart():
    bins = [Bin(low, low + 9) for low in range(0, 50, 10)]
    gaps = [after.middle - before.middle for before, after in itertools.pairwise(bins)]
    assert gaps == approx([10.0] * 4)
