"""FlowMatching and GaussianKl: losses of flow policies, by hand."""

import math

import pytest
import torch

from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.sample.policies.denoising.sde import sde_step
from oneloop.update.objective.flow_matching import FlowMatching
from oneloop.update.objective.gaussian_kl import GaussianKl, gaussian_kl
from tests.support.trees import asked, policy


def demonstrations(flow):
    image = {"prompt": "a", "image": torch.rand(1, 2, 2).numpy()}
    return flow.demonstrate(asked(1, prompts=3).put(example=[image] * 3))[0]


def test_the_loss_is_the_squared_error_of_the_velocity():
    flow = policy()
    rollouts = demonstrations(flow)
    actions = torch.arange(3)
    noise, sigma = torch.randn(3, 1, 2, 2), torch.tensor([0.2, 0.5, 0.9])
    level, data = sigma.view(-1, 1, 1, 1), rollouts.actions.latent
    condition = flow.condition(rollouts, actions)
    velocity = flow.network((1 - level) * data + level * noise, sigma, condition)
    expected = (velocity - (noise - data)).square().mean((1, 2, 3))
    torch.testing.assert_close(flow.at(rollouts, actions).matching(noise, sigma), expected)


def test_below_a_noise_level_errors_of_the_data_weigh_alike():
    flow = policy()
    rollouts, actions = demonstrations(flow), torch.arange(3)
    plain, readings = FlowMatching()(flow.at(rollouts, actions), rollouts, actions)
    even, same = FlowMatching(even_below=1.0)(flow.at(rollouts, actions), rollouts, actions)
    assert torch.equal(readings["nll"], same["nll"])  # what is reported is the loss of flow matching
    draws = rollouts.uniforms("flow_matching", actions, 5)[:, 0]
    sigma = torch.special.ndtri(draws).sigmoid().float()
    torch.testing.assert_close(even, plain * sigma.square())


@pytest.mark.parametrize("sigma", ["uniform", "logit_normal"])
def test_draws_are_named_so_a_cut_changes_nothing(sigma):
    flow, part = policy(), FlowMatching(sigma=sigma)
    rollouts = demonstrations(flow)
    whole, readings = part(flow.at(rollouts, torch.arange(3)), rollouts, torch.arange(3))
    assert torch.equal(readings["nll"], whole.detach())
    for actions in (torch.tensor([2]), torch.tensor([0, 1])):
        piece, _ = part(flow.at(rollouts, actions), rollouts, actions)
        torch.testing.assert_close(piece, whole[actions])
    later, _ = part(flow.at(rollouts, torch.arange(3)), rollouts.put_facts(step=1), torch.arange(3))
    assert (later - whole).abs().min() > 0


def test_gaussian_kl_is_the_divergence_of_the_two_normals():
    mean, reference, std = torch.randn(4, 3, 2), torch.randn(4, 3, 2), torch.tensor([0.1, 0.5, 1.0, 2.0])
    wide = std.view(-1, 1, 1)
    one, other = torch.distributions.Normal(mean, wide), torch.distributions.Normal(reference, wide)
    expected = torch.distributions.kl_divergence(one, other).mean((1, 2))
    torch.testing.assert_close(gaussian_kl(mean, reference, std), expected)
    assert gaussian_kl(mean, reference, torch.zeros(4)).eq(0).all()


def official_flow_grpo(sample, velocity, reference, sigma, after, noise_level=0.7):
    """KL of one step as Flow-GRPO's code has it (sde_step_with_logprob and kl_loss), sigma below 1."""
    dt = after - sigma
    std_dev_t = math.sqrt(sigma / (1 - sigma)) * noise_level
    means = [
        sample * (1 + std_dev_t**2 / (2 * sigma) * dt)
        + v * (1 + std_dev_t**2 * (1 - sigma) / (2 * sigma)) * dt
        for v in (velocity, reference)
    ]
    return (means[0] - means[1]).square().mean() / (2 * std_dev_t**2)


def test_worked_kl_of_flow_grpo():
    """From sigma .8 to .7, g = 1.4: means .1 apart give .01 / (2 * 1.96), the step's KL ten times that."""
    step = sde_step("flow", 0.7, 0.8, 0.7)
    mean, reference = torch.tensor([[0.1, 0.1]]), torch.zeros(1, 2)
    std, span = torch.tensor([step.std]), torch.tensor([step.span])
    assert gaussian_kl(mean, reference, std, span).item() == pytest.approx(0.01 / (2 * 1.96), rel=1e-5)
    assert gaussian_kl(mean, reference, std).item() == pytest.approx(0.1 / (2 * 1.96), rel=1e-5)


def test_the_kl_is_that_of_the_authors_code():
    flow = policy(noise="flow", level=0.7, steps=6)
    flow.keep_reference()
    rollouts, _ = flow.sample(asked(2))
    with torch.no_grad():
        for weight in flow.model.parameters():
            weight.add_(0.02)
    later = (rollouts.depth > 0).nonzero().squeeze(1)
    here = flow.at(rollouts, later)
    _, readings = GaussianKl()(here, rollouts, later)
    exact = GaussianKl(divisor="variance")(here, rollouts, later)[1]["kl"]
    with torch.no_grad():
        velocity = here.velocity[here.inputs.which]
        with flow.as_reference():
            reference = here._velocity(here.inputs)[here.inputs.which]
    start = here.inputs.latent[here.inputs.which]
    for i, depth in enumerate(rollouts.depth[later].tolist()):
        sigma, after = flow.sigmas[depth], flow.sigmas[depth + 1]
        wanted = official_flow_grpo(start[i], velocity[i], reference[i], sigma, after)
        assert readings["kl"][i].item() == pytest.approx(wanted.item(), rel=1e-3)
        assert exact[i].item() == pytest.approx(wanted.item() / (sigma - after), rel=1e-3)


def test_the_kl_is_zero_at_the_reference_and_pulls_back_to_it():
    flow, part = policy(), GaussianKl(coefficient=2.0)
    flow.keep_reference()
    rollouts, _ = flow.sample(asked(2))
    actions = torch.arange(len(rollouts.actions))
    loss, readings = part(flow.at(rollouts, actions), rollouts, actions)
    assert loss.eq(0).all() and readings["kl"].eq(0).all()
    with torch.no_grad():
        for weight in flow.model.parameters():
            weight.add_(0.02)
    loss, readings = part(flow.at(rollouts, actions), rollouts, actions)
    assert (loss > 0).all() and torch.equal(readings["kl"] * 2, loss.detach())
    loss.sum().backward()
    assert any(weight.grad.abs().sum() > 0 for weight in flow.model.parameters() if weight.grad is not None)


def test_every_step_has_its_own_kl_however_it_is_cut():
    flow, part = policy(), GaussianKl()
    flow.keep_reference()
    with torch.no_grad():
        for weight in flow.model.parameters():
            weight.add_(0.02)
    rollouts, _ = flow.sample(asked(2))
    actions = torch.arange(len(rollouts.actions))
    whole, _ = part(flow.at(rollouts, actions), rollouts, actions)
    for piece in actions[torch.randperm(len(actions), generator=torch.Generator().manual_seed(0))].split(5):
        torch.testing.assert_close(part(flow.at(rollouts, piece), rollouts, piece)[0], whole[piece])


def recipe(**phase):
    plan = {"data": "digits", "count": {"uniform": {"n": 2}}}
    judge = ["scene"]
    model = {"flow_mlp": {}}
    base = {
        "plan": plan,
        "judge": judge,
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
        **phase,
    }
    noise = base.pop("noise", "dance")
    return {"policy": {"flow": {"model": model, "noise": noise}}, "phases": {"one": base}}


def test_recipes_that_make_no_sense_of_a_flow_policy_are_refused():
    assert load_recipe(recipe())[0].phases["one"].steps == 100
    with pytest.raises(
        RecipeError, match=r"policy_gradient: reads 'actions.logprob', which nothing before it"
    ):
        load_recipe(recipe(noise="ode"))
    language = {"language": {"model": {"small_llama": {}}}}
    with pytest.raises(RecipeError, match="gaussian_kl: works on a logprob in nats_per_dim"):
        load_recipe({**recipe(objective=["gaussian_kl"], judge=["verifier"]), "policy": language})
