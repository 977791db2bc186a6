"""What is planned is what runs: bytes to the byte, gradients as on one process, on gloo ranks."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh

from oneloop.parallel.placement.apply import apply
from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.comm_bytes import CommBytes
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.link import Link
from oneloop.parallel.placement.meshes import planning_mesh
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.planner import plan
from oneloop.parallel.placement.search import Wishes
from tests.parallel.placement.models import Reader, batch
from tests.parallel.placement.ranks import on_ranks

pytestmark = pytest.mark.slow


def reader(*, dtype: torch.dtype = torch.float64, **options: bool) -> Reader:
    torch.manual_seed(0)
    return Reader(**options).to(dtype)


def planned(sizes: tuple[int, ...], share: int, **options) -> str:
    model = reader(**options)
    held = sum(p.numel() * p.element_size() for p in model.parameters()) // share
    pins = {"gate.both.weight": "S0/2", "gate.down.weight": "S1"} if model.gate else {}
    # by a link that is known to nobody else: a plan runs by the ways it was made with
    link = replace(Link.dtensor_cpu(), name="measured")
    wishes = Wishes(budget=Budget(parameters=held), pins=pins, link=link)
    return plan(model, sizes, batch(), wishes).to_json()


def one_step(text: str, sizes: tuple[int, ...], options: dict) -> dict:
    """A planned step and a step of one process, compared; runs on every rank."""
    found, model = ShardingPlan.from_json(text), reader(**options)
    alone = copy.deepcopy(model)
    step = apply(found, model, init_device_mesh("cpu", sizes), batch())
    optimizer, alone_optimizer = (
        torch.optim.AdamW(m.parameters(), lr=0.1, foreach=False) for m in (model, alone)
    )
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        with CommBytes() as moved:
            loss = step(**batch())
            (2 * loss).backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    for _ in range(2):
        alone_optimizer.zero_grad()
        expected = alone(**batch())
        (2 * expected).backward()
        alone_optimizer.step()
    pairs = list(zip(model.parameters(), alone.parameters(), strict=True))
    largest = max(float(a.grad.abs().max()) for _, a in pairs if a.grad is not None)
    gaps = [(p.grad.full_tensor() - a.grad).abs().max() for p, a in pairs if a.grad is not None]
    return {
        "recorded": moved.total,
        "modules": moved.by("module"),
        "phases": moved.by("phase"),
        "differs": moved.diff(found),
        "more": moved.diff(replace(found, moves=found.moves[1:])),
        "gradient": max(map(float, gaps)) / largest,
        "weights": max(float((p.full_tensor() - a).abs().max().detach()) for p, a in pairs),
        "loss": abs(losses[-1] - float(expected.detach())),
        "none": [p.grad is None for p, a in pairs if a.grad is None],
        "held": sum(p.to_local().numel() * p.element_size() for p in model.parameters()),
        "tied": model.head.weight is model.embed.weight,
    }


def four_ranks(cases: list) -> list[dict]:
    found = [one_step(*case) for case in cases]
    text, sizes, _ = cases[0]
    try:
        wrong = replace(ShardingPlan.from_json(text), parameters={"rank": str(torch.distributed.get_rank())})
        apply(wrong, reader(), init_device_mesh("cpu", sizes), batch())
    except PlacementError as error:
        found.append({"refused": str(error)})
    return found


@pytest.fixture(scope="module")
def cases():
    float64, float32 = {"dtype": torch.float64}, {"dtype": torch.float32, "tied": True}
    packed = {"dtype": torch.float64, "gated": True}
    made = [((2, 2), 3, float64), ((4,), 4, float32), ((4,), 4, packed)]
    return [(planned(sizes, share, **options), sizes, options) for sizes, share, options in made]


@pytest.fixture(scope="module")
def ran(cases):
    return on_ranks(4, four_ranks, cases)


@pytest.mark.parametrize("case", range(3))
def test_bytes_are_those_predicted(cases, ran, case):
    found = ShardingPlan.from_json(cases[case][0])
    assert {rank[case]["recorded"] for rank in ran} == {found.bytes_per_step}
    assert found.bytes_per_step > 0 and ran[0][case]["differs"] == []
    assert sum(ran[0][case]["phases"].values()) == found.bytes_per_step
    assert ran[0][case]["more"][0].endswith("that the plan does not have")
    modules = {}
    for move in found.moves:
        modules[move.module] = modules.get(move.module, 0) + move.volume
    assert ran[0][case]["modules"] == {module: volume for module, volume in modules.items() if volume}


@pytest.mark.parametrize("case, gradient, weights", [(0, 1e-10, 1e-10), (1, 1e-5, 1e-3), (2, 1e-10, 1e-10)])
def test_two_steps_are_those_of_one_process(ran, case, gradient, weights):
    for rank in ran:
        assert rank[case]["gradient"] <= gradient
        assert rank[case]["loss"] <= gradient * 10
        assert rank[case]["weights"] <= weights  # AdamW divides by the root of a square: fp32 grows
        assert rank[case]["none"] == [True]


@pytest.mark.parametrize("case", range(3))
def test_ranks_hold_the_predicted_bytes(cases, ran, case):
    found = ShardingPlan.from_json(cases[case][0])
    assert {rank[case]["held"] for rank in ran} == {found.parameter_memory}
    assert ran[0][case]["tied"] == bool(found.tied)


def test_ranks_with_different_plans_are_refused_together(ran):
    assert all("ranks hold different plans" in rank[3]["refused"] for rank in ran)


def test_a_plan_for_another_mesh_model_or_shape_is_refused_before_any_collective(cases):
    found = ShardingPlan.from_json(cases[0][0])
    with pytest.raises(PlacementError, match="mesh of 2x2 ranks, the mesh has 2"):
        apply(found, reader(), planning_mesh((2,)), batch())
    with pytest.raises(PlacementError, match="another model or other shapes"):
        apply(found, Reader(width=32), planning_mesh((2, 2)), batch())
    with pytest.raises(PlacementError, match="another model or other shapes"):
        apply(found, reader(), planning_mesh((2, 2)), batch(rows=8))
