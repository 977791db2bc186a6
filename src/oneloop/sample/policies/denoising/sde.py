"""Stochastic samplers of flow models: one Gaussian step, five named schedules of its noise.

    x = (1 - sigma) data + sigma noise     v ~ noise - data     sigma falls from 1 (noise) to 0 (data)

A step from sigma to sigma' < sigma keeps the predicted data and puts back part of the predicted noise:

    mean = (1 - sigma') (x - sigma v) + c (x + (1 - sigma) v)        next ~ Normal(mean, std^2)

    dance (DanceGRPO, 2505.07818)   std = g sqrt(sigma - sigma'), g = level   c = sigma' - std^2 / (2 sigma)
    flow  (Flow-GRPO, 2505.05470)   the same with g = level sqrt(sigma / (1 - sigma))
    cps   (Flow-CPS, 2509.05952)    std = sigma' sin(level pi / 2)            c = sqrt(sigma'^2 - std^2)
    ddim  (DDIM, 2010.02502)        std = eta sigma' sqrt((1 - A / A') / (1 - A))   c as cps
    ode   (Euler)                   std = 0                                   c = sigma'

with eta = level and A = (1 - sigma)^2 / ((1 - sigma)^2 + sigma^2), the share of the data in the variance of a
diffusion model's latent: `ddim` is its step with that eta (1: DDPM's), `ode` its step without noise, both
exactly (models/handwriting/schedule.py has the coordinates). At sigma = 1 the flow schedule takes the next
noise level inside 1 - sigma, as Flow-GRPO does.
Log-probabilities are means over the dimensions of a latent (nats_per_dim), in fp32: ratios and clip ranges
are in that unit.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Noise = Literal["dance", "flow", "cps", "ddim", "ode"]
LEVELS = {"dance": 0.3, "flow": 0.7, "cps": 0.7, "ddim": 1.0, "ode": 0.0}
SHIFT = 3.0
"""Default shift of the noise levels."""
SMALLEST = 1e-8
"""A standard deviation below this cannot be told from 0 in fp32."""


@dataclass(frozen=True)
class NoiseStep:
    """next ~ Normal(of_latent x + of_velocity v, std^2); std 0: the step is not drawn but follows."""

    of_latent: float
    of_velocity: float
    std: float
    span: float
    """How far the noise level falls: sigma - sigma'."""


def noise_levels(steps: int, shift: float) -> list[float]:
    """sigma_0 = 1 > ... > sigma_steps = 0: t = 1 - i / steps, sigma = shift t / (1 + (shift - 1) t)."""
    times = [1 - i / steps for i in range(steps + 1)]
    return [shift * t / (1 + (shift - 1) * t) for t in times]


def sde_step(noise: Noise, level: float, sigma: float, sigma_next: float) -> NoiseStep:
    """The step from `sigma` to `sigma_next`. Raises ValueError when its noise vanishes or is too much."""
    if noise in ("cps", "ddim"):
        share = math.sin(level * math.pi / 2) if noise == "cps" else level * renewed(sigma, sigma_next)
        std = sigma_next * share
        kept = math.sqrt(max(sigma_next**2 - std**2, 0.0))
    else:
        std = diffusion(noise, level, sigma, sigma_next) * math.sqrt(sigma - sigma_next)
        kept = sigma_next - std**2 / (2 * sigma)
    if noise != "ode" and not SMALLEST <= std < math.inf:
        raise ValueError(
            f"noise '{noise}' at level {level} has a standard deviation of {std} from sigma {sigma} to "
            f"{sigma_next}; an action needs at least {SMALLEST}: raise the level, or take noise 'ode'"
        )
    of_velocity = kept * (1 - sigma) - (1 - sigma_next) * sigma
    return NoiseStep(1 - sigma_next + kept, of_velocity, std, sigma - sigma_next)


def diffusion(noise: Noise, level: float, sigma: float, sigma_next: float) -> float:
    """g of a step: how fast noise is added."""
    if noise == "dance":
        return level
    if noise == "flow":
        return level * math.sqrt(sigma / (1 - (sigma if sigma < 1 else sigma_next)))
    return 0.0


def renewed(sigma: float, sigma_next: float) -> float:
    """Share of the noise's standard deviation at `sigma_next` that DDPM draws anew coming from `sigma`."""
    data, data_next = ((1 - s) ** 2 / ((1 - s) ** 2 + s**2) for s in (sigma, sigma_next))
    return math.sqrt((1 - data / data_next) / (1 - data))


def gaussian_logprob(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """[b], log-density of `value` [b, ...] per dimension, in fp32 at least; `std` [b] is positive."""
    wide = torch.promote_types(mean.dtype, torch.float32)
    distance = (value.to(wide) - mean.to(wide)).flatten(1).square().mean(1)
    std = std.to(wide)
    return -distance / (2 * std.square()) - std.log() - 0.5 * math.log(2 * math.pi)


def gaussian_entropy(std: Tensor) -> Tensor:
    """[b], differential entropy per dimension."""
    return std.log() + 0.5 * math.log(2 * math.pi * math.e)
