"""The flat network of the claim shiftnas against the elastic modules, and the arms' budgets."""

import torch
from benchmarks.claims.shiftnas.network import BLOCKS, FlatSupernet, module, search_space
from benchmarks.claims.shiftnas.training import ARMS, LAW_RATES, Setting, digits, train
from pytest import approx, mark
from torch.nn import functional

from oneloop.models.supernet import keep
from oneloop.models.supernet.flops import check_costs
from tests.support.rounding import relative, reordered, room

WIDTHS = [[48] * BLOCKS, [0] * BLOCKS, [4, 0, 12, 48, 0, 8, 24, 16]]


def architecture(widths: list[int]) -> dict[str, int]:
    """As the elastic modules take it."""
    return {f"hidden.{block}": width for block, width in enumerate(widths)}


@mark.parametrize("widths", WIDTHS)
def test_values_and_gradients_are_those_of_the_elastic_modules(widths):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 64, generator=generator)
    labels = torch.randint(10, (64,), generator=generator)

    def kept(model):
        keep(model, architecture(widths))
        return model

    flat, model = FlatSupernet(3), kept(module(3))
    functional.cross_entropy(model(images), labels).backward()
    near = room(lambda move: kept(move(module(3)))(images))
    torch.testing.assert_close(flat.logits(images, widths), model(images).detach(), rtol=0, atol=near)
    with torch.no_grad():
        found = flat.accumulate(images, torch.eye(10)[labels], widths)
    near = room(lambda move: kept(move(module(3)))(images).softmax(1))
    torch.testing.assert_close(found, model(images).softmax(1).detach(), rtol=0, atol=near)
    for slope, weight in zip(flat.slopes, model.parameters(), strict=True):
        wanted = torch.zeros_like(weight) if weight.grad is None else weight.grad
        turned = wanted.T if slope.shape != wanted.shape else wanted
        assert relative(slope, turned) <= reordered(model) if turned.any() else not slope.any()


def test_a_step_is_one_of_adam():
    flat = FlatSupernet(0)
    weight = flat.weights.clone().requires_grad_()
    optimiser = torch.optim.Adam([weight], 0.01)
    for seed in range(3):
        gradient = torch.randn(len(weight), generator=torch.Generator().manual_seed(seed))
        weight.grad = gradient.clone()
        flat.gradient.copy_(gradient)
        optimiser.step()
        flat.step(0.01)
    torch.testing.assert_close(flat.weights, weight.detach(), rtol=1e-5, atol=1e-6)
    assert not flat.gradient.any()


@mark.parametrize("arm", ARMS)
def test_every_arm_spends_its_budget_and_no_more_than_a_step(arm):
    with torch.no_grad():
        made = train(Setting(arm, 1.3e6, 8e-3, LAW_RATES.get(arm, 0.0)), digits(0), 0)
    assert 1.3e6 <= made.spent < 1.3e6 + 4 * 20208
    assert made.looks == (made.steps // 100 if arm == "rate" or arm in LAW_RATES else 0)
    assert made.steps < 1.3e6 / 1776


def test_costs_are_counted_by_torch_and_cover_the_stated_range():
    space = search_space()
    assert (space.minimum, space.maximum, space.count()) == (1776, 20208, 8**8)
    check_costs(module(0), space, [architecture(widths) for widths in WIDTHS], torch.rand(1, 64))
    shares = [space.count(*bin) / space.count() for bin in space.bins(12)]
    assert shares[4] == approx(0.2867, abs=1e-4)
    assert shares[-1] == 17 / 8**8
