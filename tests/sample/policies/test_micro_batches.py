"""Which packed rows go through the model together: as little padding as can be, never over the budget."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from oneloop.sample.policies.tokens.micro_batches import PASS, cuts, filled


def forwarded(lengths: list[int], pieces: list[tuple[int, int]]) -> int:
    return sum((end - start) * lengths[start] + PASS for start, end in pieces)


def all_cuts(rows: int) -> list[list[tuple[int, int]]]:
    """Every way to cut so many rows into pieces."""
    inner = [places for count in range(rows) for places in combinations(range(1, rows), count)]
    return [list(zip((0, *places), (*places, rows), strict=True)) for places in inner]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(1, 1500))
def test_no_other_cut_within_the_budget_forwards_less(lengths, budget):
    lengths = sorted(lengths, reverse=True)

    def allowed(pieces: list[tuple[int, int]]) -> bool:
        return all(end - start == 1 or (end - start) * lengths[start] <= budget for start, end in pieces)

    found = cuts(lengths, budget)
    assert allowed(found)
    least = min(forwarded(lengths, pieces) for pieces in all_cuts(len(lengths)) if allowed(pieces))
    assert forwarded(lengths, found) == least and found in all_cuts(len(lengths))


def test_a_long_row_does_not_pad_short_ones():
    assert cuts([900, 100, 100, 100], 4096) == [(0, 1), (1, 4)]
    assert cuts([110, 105, 100, 100], 4096) == [(0, 4)], "nor is cut off for a few tokens"
    assert cuts([], 4096) == []


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(1, 1500))
def test_without_padding_pieces_are_filled_in_turn(lengths, budget):
    pieces = list(filled(lengths, budget))
    assert [row for start, end in pieces for row in range(start, end)] == list(range(len(lengths)))
    assert all(end - start == 1 or sum(lengths[start:end]) <= budget for start, end in pieces)
    for (start, end), (_, after) in zip(pieces, pieces[1:], strict=False):
        assert end < after and sum(lengths[start : end + 1]) > budget, "the next row had no room"
