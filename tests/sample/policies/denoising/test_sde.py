"""One Gaussian step: worked numbers, the forms in which others wrote it, and where a whole chain ends."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.sample.policies.denoising.sde import gaussian_entropy, gaussian_logprob, noise_levels, sde_step

numbers = st.floats(-3, 3)
falling = (
    st.tuples(st.floats(0.02, 0.99), st.floats(0.01, 0.98)).map(sorted).filter(lambda s: s[1] - s[0] > 1e-3)
)


def mean_of(step, x, v):
    return step.of_latent * x + step.of_velocity * v


def logprob(value, mean, std):
    made = gaussian_logprob(torch.tensor([[value]]), torch.tensor([[mean]]), torch.tensor([std]))
    return float(made)


@pytest.mark.parametrize(
    ("noise", "level", "mean", "std", "value", "expected"),
    [
        ("dance", 0.3, 0.527525, 0.09486833, 0.5 * 0.09486833, 1.31132682),
        ("flow", 0.7, 0.4761, 0.44271887, 0.5 * 0.44271887, -0.22911822),
        ("cps", 0.3, 0.49643001, 0.31779335, 0.0, -math.log(0.31779335) - 0.5 * math.log(2 * math.pi)),
    ],
)
def test_worked_steps(noise, level, mean, std, value, expected):
    step = sde_step(noise, level, 0.8, 0.7)
    assert mean_of(step, 0.5, -0.3) == pytest.approx(mean, abs=1e-7)
    assert step.std == pytest.approx(std, abs=1e-7)
    assert logprob(mean + value, mean, std) == pytest.approx(expected, abs=1e-5)


@given(falling, numbers, numbers, st.floats(0.05, 0.9))
def test_dance_and_flow_as_their_authors_wrote_them(levels, x, v, level):
    after, sigma = levels
    d = after - sigma
    dance = sde_step("dance", level, sigma, after)
    clean = x - sigma * v
    score = -(x - (1 - sigma) * clean) / sigma**2
    written = x + d * v - 0.5 * level**2 * score * d  # DanceGRPO: mean + (-eta^2 / 2) score * dsigma
    assert mean_of(dance, x, v) == pytest.approx(written, rel=1e-6, abs=1e-6)
    g = level * math.sqrt(sigma / (1 - sigma))
    flow = sde_step("flow", level, sigma, after)
    written = x * (1 + g**2 / (2 * sigma) * d) + v * (1 + g**2 * (1 - sigma) / (2 * sigma)) * d  # Flow-GRPO
    assert mean_of(flow, x, v) == pytest.approx(written, rel=1e-6, abs=1e-6)
    assert flow.std == pytest.approx(g * math.sqrt(-d))


@given(falling, numbers, numbers)
def test_without_noise_it_is_euler(levels, x, v):
    after, sigma = levels
    euler = x + (after - sigma) * v
    assert mean_of(sde_step("ode", 0.0, sigma, after), x, v) == pytest.approx(euler, abs=1e-9)
    assert mean_of(sde_step("dance", 1e-6, sigma, after), x, v) == pytest.approx(euler, abs=1e-6)


def test_noise_levels_are_those_of_diffusers():
    levels = noise_levels(20, 3.0)
    assert levels[:3] == pytest.approx([1, 0.98275862, 0.96428571]) and levels[-2:] == pytest.approx(
        [0.13636364, 0]
    )
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1 - i / 20 for i in range(20)])
    assert scheduler.sigmas.tolist() == pytest.approx(levels, abs=1e-6)


@pytest.mark.parametrize(
    ("noise", "level", "steps", "variance"),
    [
        ("ode", 0.0, 20, 0.834152),
        ("dance", 0.3, 20, 0.839603),
        ("flow", 0.7, 20, 0.900171),
        ("ode", 0.0, 2000, 0.998193),
        ("dance", 0.3, 2000, 0.998255),
        ("flow", 0.7, 2000, 1.001610),
    ],
)
def test_where_a_chain_on_gaussian_data_ends(noise, level, steps, variance):
    """Data Normal(2, 1): the best velocity is linear in x, so mean and variance of the chain are exact."""
    levels = noise_levels(steps, 3.0)
    mean, spread, middle = 0.0, 1.0, 2.0
    for sigma, after in zip(levels, levels[1:], strict=False):
        slope = (sigma - (1 - sigma)) / ((1 - sigma) ** 2 + sigma**2)
        # the last step, to sigma 0, adds its noise too in this exercise
        step = sde_step(noise, level, sigma, after)
        factor = step.of_latent + step.of_velocity * slope
        offset = step.of_velocity * (-middle - slope * (1 - sigma) * middle)
        mean, spread = factor * mean + offset, factor**2 * spread + step.std**2
    assert mean == pytest.approx(middle, abs=1e-9)
    assert spread == pytest.approx(variance, abs=1e-6)


def test_log_density_and_entropy_are_means_over_dimensions_in_fp32():
    value, mean = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    std = torch.tensor([0.5, 1.0, 2.0])
    law = torch.distributions.Normal(mean, std.view(-1, 1, 1))
    torch.testing.assert_close(gaussian_logprob(value, mean, std), law.log_prob(value).mean((1, 2)))
    torch.testing.assert_close(gaussian_entropy(std), law.entropy().mean((1, 2)))
    assert gaussian_logprob(value.bfloat16(), mean.bfloat16(), std).dtype == torch.float32


@pytest.mark.parametrize("noise", ["dance", "flow", "cps"])
def test_noise_too_small_to_tell_is_refused(noise):
    with pytest.raises(ValueError, match=rf"noise '{noise}' at level 1e-09.*raise the level"):
        sde_step(noise, 1e-9, 0.5, 0.4)
