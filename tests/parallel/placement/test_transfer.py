import math

import pytest
import torch

from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.transfer import transfer_plan

SHAPE, T = (64, 64), 64 * 64 * 4


@pytest.mark.parametrize(
    "source, target, times",
    [
        ("S0", "S0", 1),
        ("S0", "S1", 1),
        ("S0", "R", 2),
        ("S0", "P", 1),
        ("R", "S0", 1),
        ("R", "R", 2),
        ("R", "P", 1),
        ("P", "S0", 4),
        ("P", "R", 5),
        ("P", "P", 4),
        ("S1", "R", 2),
        ("R", "S1", 1),
    ],
)
def test_four_producers_and_two_consumers_send_what_the_table_says(source, target, times):
    assert transfer_plan((4,), source, (2,), target, SHAPE).volume == times * T


def test_the_worked_example():
    assert transfer_plan((4,), "S0", (2,), "R", (1024, 1024)).volume == 8_388_608
    assert transfer_plan((4,), "P", (2,), "R", (1024, 1024)).volume == 20_971_520


@pytest.mark.parametrize(
    "source, sizes, target, onto",
    [
        ("S0/2", (4,), "S0", (2,)),
        ("S1", (2,), "S0/4,R", (2, 2)),
        ("S0,S1", (2, 2), "S1,R", (2, 2)),
        ("S0,S0", (2, 4), "S0", (4,)),
        ("P,S0", (2, 2), "R,S1", (2, 2)),
    ],
)
def test_slices_rebuild_the_tensor(source, sizes, target, onto):
    """Every consumer, adding or copying what it is sent, holds its part of the whole."""
    whole = torch.randn(8, 8, dtype=torch.float64)
    found = transfer_plan(sizes, source, onto, target, whole.shape, whole.dtype)
    held = _parts(whole, found.reduced or source, sizes)
    received = [torch.zeros_like(whole) for _ in range(math.prod(onto))]
    for one in found.slices:
        at = tuple(slice(*ends) for ends in one.box)
        received[one.target][at] = held[one.source][at] + (received[one.target][at] if one.adds else 0)
    for got, part in zip(received, _parts(whole, target, onto), strict=True):
        assert torch.allclose(got, part, atol=1e-12)


def _parts(whole, text, sizes):
    """What every rank holds, in the whole's coordinates, zeros elsewhere; partial sums are equal shares."""
    parts = []
    for rank in torch.cartesian_prod(*[torch.arange(size) for size in sizes]).view(-1, len(sizes)).tolist():
        held, mask = whole.clone(), torch.ones_like(whole)
        bounds = [[0, 8], [0, 8]]
        for letter, size, at in zip(text.split(","), sizes, rank, strict=True):
            if letter == "P":
                held = held / size
            elif letter.startswith("S"):
                axis = int(letter[1])
                low, high = bounds[axis]
                bounds[axis] = [low + at * (high - low) // size, low + (at + 1) * (high - low) // size]
        if "/" in text:
            mask[_packed(text, rank[0], sizes[0])] = 2
            parts.append(torch.where(mask == 2, held, 0.0))
            continue
        mask[bounds[0][0] : bounds[0][1], bounds[1][0] : bounds[1][1]] = 2
        parts.append(torch.where(mask == 2, held, 0.0))
    return parts


def _packed(text, at, ranks):
    """Rows of rank `at` of 8 rows cut within each of their parts."""
    parts = torch.arange(8).chunk(int(text.partition("/")[2][0]))
    return torch.cat([part.chunk(ranks)[at] for part in parts])


def test_placements_that_do_not_fit_are_refused():
    with pytest.raises(PlacementError, match="cannot be placed as S0 on a mesh of 3"):
        transfer_plan((3,), "S0", (2,), "R", SHAPE)
    with pytest.raises(PlacementError, match="on a mesh of 2x2"):
        transfer_plan((2, 2), "S0", (2,), "R", SHAPE)
