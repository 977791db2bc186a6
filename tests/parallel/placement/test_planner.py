"""Plans of small models: the worked example, optimality, bounds, what is refused."""

import itertools

import pytest
import torch
from torch import nn

from oneloop.parallel.placement import search
from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.fault import Infeasible, PlacementError
from oneloop.parallel.placement.link import Link
from oneloop.parallel.placement.operations import program
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.planner import plan, plan_traced
from oneloop.parallel.placement.search import Search, Wishes
from oneloop.parallel.placement.trace import trace
from tests.parallel.placement.models import Gated, Megatron, Reader, batch

QUARTER = Wishes(budget=Budget(parameters=(64 * 256 * 2 * 4) // 4 + 64 * 64 * 4), pins={"x": "R"})

SOLVER = 1e-6
"""Share by which the solver takes a bound for kept."""


def held(model, share):
    return sum(p.numel() * p.element_size() for p in model.parameters()) // share


def test_the_worked_example_of_a_split_mlp():
    """Column then row: the scalar's all-reduce and one all-reduce of the input's gradient."""
    found = plan(Megatron(), (4,), {"upstream": torch.zeros(64, 64)}, QUARTER)
    assert found.parameters == {"x": "R", "up": "S1", "down": "S0"}
    assert found.bytes_per_step == 98_328
    assert found.status == "optimal" and found.gap == 0


def test_a_packed_weight_is_cut_within_its_gate_and_its_projection():
    """Scattered and gathered partial sums of 2 x 8 numbers, and the scalar: 3 (64 + 64) + 6 x 4 bytes."""
    found = plan(Gated(), (4,), {"x": torch.zeros(2, 8)}, Wishes(budget=Budget(parameters=384 * 4 // 4)))
    assert found.parameters == {"both.weight": "S0/2", "down.weight": "S1"}
    assert found.bytes_per_step == 3 * (64 + 64) + 2 * 3 * 4
    wishes = Wishes(budget=Budget(parameters=384 * 4 // 4), packed=False)
    plain = plan(Gated(), (4,), {"x": torch.zeros(2, 8)}, wishes)
    assert plain.cost > found.cost and not any("/" in where for where in plain.parameters.values())


def test_without_a_bound_and_without_a_price_of_work_nothing_moves():
    found = plan(Megatron(), (4,), {"upstream": torch.zeros(64, 64)}, Wishes(balance=0.0))
    assert found.bytes_per_step == 0 and set(found.parameters.values()) == {"R"}


def test_a_plan_reads_back():
    found = plan(Reader(), (4,), batch())
    again = ShardingPlan.from_json(found.to_json())
    assert again == found and again.digest == found.digest
    with pytest.raises(PlacementError, match="no sharding plan"):
        ShardingPlan.from_json("{}")


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(4, 8))

    def forward(self, x):
        return (x @ self.w).sum()


def test_the_optimum_of_a_small_graph_is_that_of_trying_everything():
    model, wishes = Tiny(), Wishes(budget=Budget(parameters=4 * 8 * 4 // 2), balance=0.01)
    traced = program(trace(model, {"x": torch.zeros(4, 4)}))
    search = Search(traced, (2,), wishes)
    problem, _ = search.run()
    best = float("inf")
    for chosen in itertools.product(*(range(len(options)) for options in problem.options)):
        best = min(best, _cost(problem, chosen, wishes.budget.parameters))
    found = plan_traced(traced, (2,), wishes)
    assert found.cost == pytest.approx(best, abs=8 / 50)  # ties weigh less than 1/50 of a scalar's all-reduce
    exact = tuple(
        [str(s) for s in options].index(str(found.signature(op.name)))
        for op, options in zip(traced.operations, problem.options, strict=True)
    )
    assert _cost(problem, exact, wishes.budget.parameters) == best


def _cost(problem, chosen, budget):
    from oneloop.parallel.placement.bounded import parameters_held

    if parameters_held(problem, chosen) > budget:
        return float("inf")
    total = sum(
        problem.work(op, problem.options[n][chosen[n]]) for n, op in enumerate(problem.program.operations)
    )
    for value, uses in problem.uses.items():
        producer = problem.producer[value]
        source = problem.options[producer][chosen[producer]].outputs[value.index]
        for target in {problem.wanted(use, chosen[use.operation]) for use in uses}:
            route = problem.boxing.route(value.meta, source, target)
            if route is None:
                return float("inf")
            total += problem.price(route)
    return total


def test_a_tighter_budget_never_costs_less():
    traced = program(trace(Reader(), batch()))
    costs = [
        plan_traced(traced, (4,), Wishes(budget=Budget(parameters=held(Reader(), share)))).cost
        for share in (1, 2, 3)
    ]
    assert costs == sorted(costs)


def test_work_is_bounded_and_what_moves_falls_as_more_is_allowed():
    """Two products forward and four backward: a quarter of them where all are cut, all where none is."""
    traced = program(trace(Megatron(), {"upstream": torch.zeros(64, 64)}))
    whole = sum(operation.flops for operation in traced.operations)
    sent = []
    for share in (4, 2, 1):
        budget = Budget(parameters=QUARTER.budget.parameters, flops=whole / share)
        found = plan_traced(traced, (4,), Wishes(budget=budget, balance=1e-6))
        assert found.status == "optimal" and found.flops_per_rank <= whole / share * (1 + SOLVER)
        sent.append(found.bytes_per_step)
    assert sent == sorted(sent, reverse=True)
    with pytest.raises(Infeasible, match="memory and on floating point operations together"):
        plan_traced(traced, (4,), Wishes(budget=Budget(flops=whole / 5)))


def test_a_budget_too_small_names_the_smallest_that_does():
    model = Reader()
    with pytest.raises(Infeasible, match="give at least") as refused:
        plan(model, (4,), batch(), Wishes(budget=Budget(parameters=100)))
    found = plan(model, (4,), batch(), Wishes(budget=Budget(parameters=refused.value.smallest)))
    assert found.parameter_memory == refused.value.smallest


def test_a_bound_on_the_device_is_kept_and_its_smallest_named():
    traced = program(trace(Megatron(16, 8, 32), {"upstream": torch.zeros(16, 8)}))
    free = plan_traced(traced, (2,), Wishes(balance=0.0))
    tight = plan_traced(traced, (2,), Wishes(balance=0.0, budget=Budget(device=free.memory * 2 // 3)))
    assert tight.memory <= free.memory * 2 // 3 < free.memory
    assert tight.bytes_per_step > free.bytes_per_step == 0
    with pytest.raises(Infeasible, match="smallest budget found") as refused:
        plan_traced(traced, (2,), Wishes(budget=Budget(device=1000)))
    assert 1000 < refused.value.smallest <= tight.memory
    least = plan_traced(traced, (2,), Wishes(budget=Budget(device=refused.value.smallest)))
    assert least.memory <= refused.value.smallest


def test_repeated_layers_get_one_plan():
    found = plan(Reader(layers=4), (4,), batch(), Wishes(budget=Budget(parameters=held(Reader(layers=4), 4))))
    inner = [
        {
            name.split(".", 2)[2]: where
            for name, where in found.parameters.items()
            if f"blocks.{layer}." in name
        }
        for layer in (1, 2)
    ]
    assert inner[0] == inner[1] and len(inner[0]) == 6


def test_seconds_are_an_objective():
    slow = Link(name="slow", bandwidth=(1.0,), latency=(1e3,), flops=1e12)
    found = plan(Reader(), (4,), batch(), Wishes(objective="seconds", link=slow))
    assert found.bytes_per_step == 0
    assert found.seconds == pytest.approx(found.flops_per_rank / 1e12)


def test_axes_that_do_not_divide_are_noted():
    found = plan(Reader(vocabulary=30), (4,), batch(vocabulary=30))
    assert found.notes["S0 of head.weight"] == "30 is not a multiple of 4"


def test_pins_are_kept_or_refused():
    found = plan(Reader(), (4,), batch(), Wishes(pins={"head.weight": "S0"}))
    assert found.parameters["head.weight"] == "S0"
    for pins, says in (
        ({"head.weigth": "S0"}, "no parameter or input"),
        ({"unused": "S1"}, "axis is absent"),
        ({"head.weight": "S0,R"}, "needs 1 placements"),
        ({"head.weight": "left"}, "must be R, P or S"),
    ):
        with pytest.raises(PlacementError, match=says):
            plan(Reader(), (4,), batch(), Wishes(pins=pins))
    with pytest.raises(PlacementError, match="not a multiple"):
        plan(Reader(vocabulary=30), (4,), batch(vocabulary=30), Wishes(pins={"head.weight": "S0"}))


def test_pins_hold_on_every_axis_of_a_mesh():
    pins = {"both.weight": "R,S1", "down.weight": "S0,S1"}
    found = plan(Gated(), (2, 2), {"x": torch.zeros(2, 8)}, Wishes(pins=pins))
    assert found.parameters == pins
    assert found.notes["cuts within the parts of packed axes (32 = 2 x 16)"] == "the mesh has several axes"


def test_tied_parameters_have_one_placement():
    model = Reader(tied=True)
    found = plan(model, (4,), batch())
    assert found.tied == {"head.weight": "embed.weight"}
    assert found.placements()["head.weight"] == found.placements()["embed.weight"]
    with pytest.raises(PlacementError, match="one tensor and have two pins"):
        plan(model, (4,), batch(), Wishes(pins={"head.weight": "S0", "embed.weight": "S1"}))


def test_two_axes_are_planned_axis_by_axis():
    model = Megatron(16, 8, 32)
    wishes = Wishes(budget=Budget(parameters=held(model, 3)))
    found = plan(model, (2, 2), {"upstream": torch.zeros(16, 8)}, wishes)
    assert found.status == "axis by axis" and found.parameter_memory <= held(model, 3)
    assert all(len(where) == 2 for where in found.placements().values())
    line = plan(model, (4,), {"upstream": torch.zeros(16, 8)}, wishes)
    assert found.cost <= 1.5 * line.cost


def test_on_two_axes_too_little_time_is_not_taken_for_too_little_memory(monkeypatch):
    traced = program(trace(Megatron(16, 8, 32), {"upstream": torch.zeros(16, 8)}))
    for raised, says in (
        (PlacementError("no plan was found in 2 s"), "no plan was found in 30 s: give more time"),
        (Infeasible("too small"), "fits the budget; give more memory"),
    ):

        def fails(*_, raised=raised):
            raise raised

        monkeypatch.setattr(search, "solve_within", fails)
        with pytest.raises(PlacementError, match=says) as error:
            plan_traced(traced, (2, 2), Wishes(time_limit=30))
        assert type(error.value) is type(raised)
