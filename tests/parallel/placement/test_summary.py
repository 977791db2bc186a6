from dataclasses import replace

import pytest

from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.hand import data_parallel, megatron, zero3
from oneloop.parallel.placement.operations import program
from oneloop.parallel.placement.planner import plan_traced
from oneloop.parallel.placement.search import Wishes
from oneloop.parallel.placement.summary import comm_rows, explain, layered, not_offered, parameter_rows
from oneloop.parallel.placement.trace import trace
from tests.parallel.placement.models import Reader, batch


@pytest.fixture(scope="module")
def traced():
    return program(trace(Reader(layers=2), batch()))


@pytest.fixture(scope="module")
def held():
    return sum(p.numel() * 4 for p in Reader(layers=2).parameters())


@pytest.fixture(scope="module")
def found(traced, held):
    return plan_traced(traced, (4,), Wishes(budget=Budget(parameters=held // 4)))


def test_rows_add_up_to_the_plan(found):
    rows = comm_rows(found)
    assert sum(row.volume for row in rows) == found.bytes_per_step
    assert sum(row.per_rank for row in rows) == pytest.approx(found.bytes_per_rank)
    assert sum(row.count for row in rows) == len(found.collectives)
    assert [row.volume for row in rows] == sorted((row.volume for row in rows), reverse=True)


def test_repeated_layers_are_one_row(found):
    assert layered("blocks.1.up.weight") == "blocks.*.up.weight" and layered("h.0") == "h.*"
    assert sum(row.count for row in parameter_rows(found)) == len(found.parameters)
    notes = {f"S0 of blocks.{layer}.up.weight": "3 is not a multiple of 4" for layer in range(9)}
    assert not_offered(replace(found, notes=notes)) == ["S0 of blocks.*.up.weight: 3 is not a multiple of 4"]


def test_names_are_explained(found):
    said = explain(found, "head.weight")
    assert said[0] == f"head.weight (32x16) lives at {found.parameters['head.weight']}"
    said = explain(found, "blocks.0")
    assert said[0].startswith("blocks.0: 6 parameters")
    with pytest.raises(PlacementError, match="did you mean 'head.weight'"):
        explain(found, "head.weigh")


def test_plans_by_hand_send_what_their_formulas_say(traced, held):
    ranks, unused = 4, 16
    assert data_parallel(traced, (ranks,)).volume == 2 * 3 * (held - unused)
    assert zero3(traced, (ranks,)).volume == 2 * 3 * held + 3 * (held - unused)
    assert zero3(traced, (2, 2)).volume == zero3(traced, (ranks,)).volume


def test_megatron_needs_names_it_knows(traced):
    with pytest.raises(PlacementError, match="no linear layer has a name"):
        megatron(traced, (4,), Reader(layers=2), Wishes())
