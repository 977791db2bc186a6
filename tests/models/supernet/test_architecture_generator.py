"""Unit masks, costs of policies, hard Gumbel draws, and a generator that learns to meet a budget."""

import itertools

import torch
from pytest import approx, mark, raises

from oneloop.models.seeded import seeded
from oneloop.models.supernet import Choice, Product, SearchSpace, at, cut, largest
from oneloop.models.supernet import mask as weigh
from oneloop.models.supernet.architecture_generator import (
    ArchitectureGenerator,
    expected_cost,
    hard_gumbel,
)
from oneloop.models.supernet.unit_mask import unit_costs, unit_mask
from tests.models.supernet.networks import ids, transformer
from tests.support.rounding import room

SPACE = SearchSpace(
    Choice("width", (8, 16)),
    Choice("depth", (1, 2, 3)),
    Choice("hidden", (0, 4, 6), (0, 40, 60)),
    products=(Product(2, ("depth", "width", "width")),),
    constant=10,
)


def test_a_mask_of_units_and_its_cost():
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    masked = unit_mask(weights, (1, 2, 3))
    assert masked.tolist() == approx([1, 0.8, 0.5])
    constant, increments = unit_costs((1, 2, 3), (2, 5, 9))
    assert (constant, increments.tolist()) == (0, [2, 3, 4])
    cost = increments @ masked
    assert float(cost) == approx(6.4)
    assert float(cost) == approx(float(weights @ torch.tensor([2.0, 5, 9], dtype=torch.float64)))
    assert float((cost - 6) ** 2) == approx(0.16)
    # totals of candidates and masks of units together count double
    assert float(torch.tensor([2.0, 5, 9], dtype=torch.float64) @ masked) == approx(10.5)


@mark.parametrize(("values", "costs"), [((1, 2, 3), (2, 5, 9)), ((0, 4, 6), (7, 9, 30)), ((2, 5), (4, 4))])
def test_for_any_weights_units_and_increments_give_the_means(values, costs):
    weights = torch.rand(5, len(values), generator=torch.Generator().manual_seed(0)).double().softmax(-1)
    masked = unit_mask(weights, values)
    constant, increments = unit_costs(values, costs)
    torch.testing.assert_close(masked.sum(-1), weights @ torch.tensor(values).double())
    torch.testing.assert_close(constant + masked @ increments, weights @ torch.tensor(costs).double())
    assert (masked.diff(dim=-1) <= 1e-12).all()
    if values[0]:
        torch.testing.assert_close(masked[:, 0], torch.ones(5).double())


def test_the_expected_cost_is_that_of_independent_choices():
    generator = torch.Generator().manual_seed(0)
    policies = {
        name: torch.rand(len(choice.values), generator=generator).double().softmax(-1)
        for name, choice in SPACE.choices.items()
    }
    mean = 0.0
    for places in itertools.product(*(range(len(choice.values)) for choice in SPACE.choices.values())):
        chosen = dict(zip(SPACE.choices, places, strict=True))
        found = {name: SPACE.choices[name].values[place] for name, place in chosen.items()}
        chance = torch.stack([policies[name][place] for name, place in chosen.items()]).prod()
        mean += float(chance) * SPACE.cost(found)
    assert float(expected_cost(SPACE, policies)) == approx(mean)


def test_through_the_budget_alone_a_step_tilts_to_dearer_or_cheaper():
    soft = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    logits = soft.log().requires_grad_()
    space = SearchSpace(Choice("budget", (1, 2, 3), (1, 2, 3)))
    (-0.4 * expected_cost(space, {"budget": logits.softmax(-1)})).backward()
    assert logits.grad.tolist() == approx([0.088, 0.020, -0.108])


@mark.parametrize("temperature", [0.2, 5.0])
def test_a_hard_draw_follows_the_logits_at_every_temperature(temperature):
    logits = torch.tensor([0.0, 1.0, 2.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([hard_gumbel(logits, temperature, generator) for _ in range(1000)])
    assert set(drawn.round(decimals=5).flatten().tolist()) == {0.0, 1.0}
    p = logits.softmax(-1)
    assert ((drawn.mean(0) - p).abs() < 4 * (p * (1 - p) / 1000).sqrt()).all()


def test_the_gradient_of_a_hard_draw_is_that_of_the_soft_one():
    logits = torch.tensor([0.3, -0.2, 0.5], requires_grad=True)
    generator = torch.Generator().manual_seed(4)
    (hard_gumbel(logits, 0.7, generator) @ torch.tensor([1.0, 2.0, 4.0])).backward()
    noise = -torch.log(-torch.log(torch.rand(3, generator=generator.manual_seed(4), dtype=torch.float64)))
    again = logits.detach().clone().requires_grad_()
    (((again + noise.float()) / 0.7).softmax(-1) @ torch.tensor([1.0, 2.0, 4.0])).backward()
    torch.testing.assert_close(logits.grad, again.grad)


def test_a_generator_learns_to_meet_its_budget():
    with seeded(0):
        made = ArchitectureGenerator(SPACE, hidden=16)
    optimiser = torch.optim.Adam(made.parameters(), 0.02)
    generator = torch.Generator().manual_seed(0)
    budgets = [SPACE.minimum, 1000, SPACE.maximum]

    def missed() -> float:
        found = [made.scaled(SPACE.cost(made.best(budget))) - made.scaled(budget) for budget in budgets]
        return sum(map(abs, found)) / len(budgets)

    before = missed()
    for step in range(120):
        budget = budgets[step % 3]
        optimiser.zero_grad()
        made.resource_loss(made(budget, 1.0, generator), budget).backward()
        optimiser.step()
    assert missed() < before / 2
    assert made.best(1000) == made.best(1000)
    with raises(ValueError, match=r"budget: got 9999, must be in 138\.\.1606"):
        made(9999)


def test_the_masks_of_a_draw_are_the_exact_subnet_and_pass_the_gradient_on():
    with seeded(0):
        made = ArchitectureGenerator(SPACE, hidden=8)
    model = transformer()
    policies = made(800, generator=torch.Generator().manual_seed(1))
    drawn = {name: SPACE.choices[name].values[int(p.argmax())] for name, p in policies.items()}
    weigh(model, made.masks(policies))
    masked = model(ids())
    with at(model, drawn):
        near = room(lambda move: move(cut(model, drawn))(ids()))
        torch.testing.assert_close(masked, model(ids()), rtol=0, atol=near)
    masked.square().mean().backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in made.heads)
    assert drawn.keys() <= largest(model).keys()
