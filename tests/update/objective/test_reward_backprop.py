"""Reward back-propagation by hand: the hinge, where its gradient goes and where it does not, who is
refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.declared import declared
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.sample.plan.dress.stop import Stop
from oneloop.update.averaging import action_weights, weights
from oneloop.update.objective.reward_backprop import RewardBackprop, hinge, hinge_loss
from tests.support.editing import Answers, preference, recipe
from tests.support.rounding import moved_by, relative, reordered, room
from tests.support.trees import asked, policy


def sampled(flow=None, **options):
    flow = flow or policy(noise="ode", beside_reference=True, **options)
    return flow, flow.sample(Stop(first=2, last=6)(asked(3)))[0]


def gradient(flow, objective, rollouts, pieces=None):
    flow.model.zero_grad()
    weight = action_weights(objective, rollouts)
    for actions in pieces or [(weight > 0).nonzero().squeeze(1)]:
        loss, _ = objective(flow.at(rollouts, actions), rollouts, actions)
        (loss * weight[actions]).sum().backward()
    return torch.cat([p.grad.flatten() for p in flow.model.parameters() if p.grad is not None])


def test_the_hinge_is_taken_before_the_mean():
    p = torch.tensor([[0.95, 0.60, 0.30, 0.80]], dtype=torch.float64)
    asked = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(hinge(p, 0.9)[0].tolist(), [0.0, 0.3, 0.6, 0.1], atol=1e-12, rtol=0)
    assert hinge_loss(p, asked, 0.9).item() == pytest.approx(0.25, abs=1e-9)
    assert hinge(p.mean(), 0.9).item() == pytest.approx(0.2375, abs=1e-9)  # the wrong order


@pytest.mark.parametrize(("p", "slope"), [(0.05, -0.0475), (0.5, -0.25), (0.85, -0.1275), (0.95, 0.0)])
def test_the_push_is_strongest_at_one_half(p, slope):
    margin = torch.logit(torch.tensor(p, dtype=torch.float64)).requires_grad_()
    hinge(margin.sigmoid(), 0.9).backward()
    assert margin.grad.item() == pytest.approx(slope, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1), st.randoms())
def test_the_loss_is_bounded_and_knows_no_order(values, bound, draw):
    p = torch.tensor([values], dtype=torch.float64)
    every = torch.ones_like(p, dtype=torch.bool)
    loss = hinge_loss(p, every, bound)
    assert 0 <= loss.item() <= bound + 1e-12
    draw.shuffle(values)
    again = hinge_loss(torch.tensor([values], dtype=torch.float64), every, bound)
    torch.testing.assert_close(again, loss)
    assert loss.item() >= hinge(p.mean(), bound).item() - 1e-12
    assert hinge_loss(p, every, 1.0).item() == pytest.approx(1 - p.mean().item())
    assert hinge_loss(p, every, 0.0).item() == 0 and hinge_loss(p, every, None).item() == pytest.approx(
        -p.mean().item()
    )
    one = hinge_loss(p, every & (torch.arange(p.shape[1]) == 0), bound)  # what is not asked does not count
    assert one.item() == pytest.approx(max(0.0, bound - p[0, 0].item()))


def rendered(flow, rollouts, calls, moved):
    """Images of the last `calls` calls by weights that `moved` changed; they are put back."""
    with moved_by(moved, flow.model):
        return flow.at(rollouts, rollouts.last).rendered(calls).detach()


def test_the_image_that_is_learned_from_is_the_one_that_was_sampled():
    flow, rollouts = sampled()
    actions = rollouts.last
    image = flow.at(rollouts, actions).rendered(1)
    gap = room(lambda moved: rendered(flow, rollouts, 3, moved))
    torch.testing.assert_close(image.detach(), rollouts.output, atol=gap, rtol=0)
    for calls in (2, 3):
        again = flow.at(rollouts, actions).rendered(calls)
        torch.testing.assert_close(again.detach(), rollouts.output, atol=gap, rtol=0)
        assert again.requires_grad
    with pytest.raises(ValueError, match=r"calls must lie in 1..4, .* got 5"):
        flow.at(rollouts, actions[rollouts.length == 3]).rendered(5)


@pytest.mark.parametrize("noise", ["ode", "dance"])
def test_values_are_those_sampled_whatever_was_drawn(noise):
    flow = policy(noise=noise)
    rollouts, _ = flow.sample(asked(2))
    image = flow.at(rollouts, rollouts.last).rendered(4)
    gap = room(lambda moved: rendered(flow, rollouts, 4, moved))
    torch.testing.assert_close(image.detach(), rollouts.output, atol=gap, rtol=0)


def test_predicted_data_move_by_minus_sigma():
    """x_t .5, v -.3, sigma .6 give .68, in either convention; d x0 / d v = -sigma."""
    from oneloop.sample.policies.denoising.here import Inputs

    velocity = torch.full((1, 1, 1, 1), -0.3, requires_grad=True)
    level = torch.tensor([0.6])
    inputs = Inputs(torch.full((1, 1, 1, 1), 0.5), level, {}, torch.tensor([0]), level, level, level, level)
    clean = inputs.clean(velocity)
    assert clean.item() == pytest.approx(0.68, abs=1e-6)
    assert clean.item() == pytest.approx(0.5 + (1 - 0.4) * 0.3, abs=1e-6)  # 0 = noise, 1 = data
    clean.sum().backward()
    assert velocity.grad.item() == pytest.approx(-0.6, abs=1e-6)


def test_the_gradient_is_that_of_the_last_call_alone():
    """By finite differences of the loss with everything before the call kept as it was sampled."""
    flow, rollouts = sampled()
    objective = RewardBackprop(judge=preference(), bound=None)
    found = gradient(flow, objective, rollouts)
    places = torch.cat([p.flatten() for p in flow.model.parameters()])
    assert found.shape == places.shape and found.abs().max() > 0
    draw = torch.randn(len(found), generator=torch.Generator().manual_seed(1))
    losses = []
    for step in (1e-2, -1e-2):
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(places + step * draw, flow.model.parameters())
            loss, _ = objective(flow.at(rollouts, rollouts.last), rollouts, rollouts.last)
            losses.append(float(loss.double().mean()))
    torch.nn.utils.vector_to_parameters(places, flow.model.parameters())
    assert float(found.double() @ draw.double()) == pytest.approx((losses[0] - losses[1]) / 2e-2, rel=0.03)


def test_more_calls_give_another_gradient_and_the_judge_none():
    flow, rollouts = sampled()
    judge = preference()
    one = gradient(flow, RewardBackprop(judge=judge), rollouts)
    two = gradient(flow, RewardBackprop(judge=judge, calls=2), rollouts)
    assert (one - two).abs().max() > 1e-7
    assert all(p.grad is None and not p.requires_grad for p in judge.network.parameters())


def test_any_cut_gives_the_same_gradient():
    flow, rollouts = sampled()
    objective = RewardBackprop(judge=preference())
    whole = gradient(flow, objective, rollouts)
    pieces = list(flow.batches(rollouts, weights(rollouts, "rollout", where="last") > 0, 2))
    assert len(pieces) > 1
    assert relative(gradient(flow, objective, rollouts, pieces), whole) < reordered(flow.model)


def test_criteria_one_by_one_give_the_same_gradient():
    flow, rollouts = sampled()
    both = gradient(
        flow, RewardBackprop(judge=preference(tasks={"fill": ("consistency", "structure")})), rollouts
    )
    each = [
        gradient(flow, RewardBackprop(judge=preference(tasks={"fill": (name,)})), rollouts)
        for name in ("consistency", "structure")
    ]
    assert relative((each[0] + each[1]) / 2, both) < reordered(flow.model)


def test_a_bound_of_zero_teaches_nothing():
    flow, rollouts = sampled()
    objective = RewardBackprop(judge=preference(), bound=0.0)
    assert gradient(flow, objective, rollouts).eq(0).all()
    _, readings = objective(flow.at(rollouts, rollouts.last), rollouts, rollouts.last)
    assert readings["closed"].eq(1).all()
    assert set(declared(objective, "writes")) == {f"actions.{name}" for name in readings}


def test_only_the_last_action_of_a_rollout_is_learned_from():
    _, rollouts = sampled()
    weight = weights(rollouts, "rollout", where="last")
    assert weight.sum() == pytest.approx(1) and (weight > 0).nonzero().squeeze(1).tolist() == sorted(
        rollouts.last.tolist()
    )
    assert weights(rollouts, "rollout", where="last")[rollouts.last].unique().numel() == 1
    shared = rollouts.put_actions(share=torch.zeros(len(rollouts.actions)))
    assert weights(shared, "rollout", where="last").eq(0).all()


def test_who_cannot_be_differentiated_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"Scene cannot be differentiated: it scores finished images"):
        RewardBackprop(judge="scene")
    with pytest.raises(ValueError, match="counts wins, and a count has no gradient"):
        RewardBackprop(judge=preference(hard=True))
    flow, rollouts = sampled()
    objective = RewardBackprop(judge=preference(model=Answers(detach=True)))
    with pytest.raises(ValueError, match="preprocessing is not differentiable"):
        objective(flow.at(rollouts, rollouts.last), rollouts, rollouts.last)


def test_a_recipe_without_a_reference_or_with_stops_too_late_is_refused():
    with pytest.raises(RecipeError, match="reads 'reference_output', which nothing before it writes"):
        load_recipe(recipe(beside_reference=False))
    with pytest.raises(
        RecipeError, match=r"stop: reaches up to action 6, but policy.flow.steps is 6, which makes 5 actions"
    ):
        load_recipe(recipe(last=6))
