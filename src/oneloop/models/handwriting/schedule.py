"""A diffusion model that predicts noise, seen as a flow: the two are one thing in other coordinates.

    diffusion   z_t = sqrt(A_t) data + sqrt(1 - A_t) noise        A_t = (1 - beta_0) ... (1 - beta_t)
    flow        x   = (1 - sigma) data + sigma noise = z_t / (sqrt(A_t) + sqrt(1 - A_t))
                sigma_t = sqrt(1 - A_t) / (sqrt(A_t) + sqrt(1 - A_t))
    velocity    v = noise - data

A step of DDIM (arXiv 2010.02502) keeps the predicted data and puts back the predicted noise; so does an Euler
step of the flow, and the two are equal. With eta > 0 DDIM draws: the noise schedule `ddim` of flow policies.
The schedule is One-DM's and DDPM's: 1000 steps, betas linear from 1e-4 to 0.02.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

STEPS = 1000
FIRST, LAST = 1e-4, 0.02


@cache
def alpha_bars() -> np.ndarray:
    """float64 [STEPS], A_t: the share of the data in the variance of z_t."""
    return np.cumprod(1 - np.linspace(FIRST, LAST, STEPS))


@cache
def sigmas() -> np.ndarray:
    """float64 [STEPS], the noise level of a flow at each time, rising."""
    data, noise = np.sqrt(alpha_bars()), np.sqrt(1 - alpha_bars())
    level: np.ndarray = noise / (data + noise)
    return level


def grid(steps: int) -> list[int]:
    """Times of `steps` calls of DDIM, falling: 999, 979, ... 19 for 50.

    Raises ValueError for more steps than there are times, or none.
    """
    if not 1 <= steps <= STEPS:
        raise ValueError(f"DDIM takes 1 to {STEPS} steps, got {steps}")
    return [round(STEPS - i * STEPS / steps) - 1 for i in range(steps)]


def noise_levels(steps: int) -> list[float]:
    """[steps + 1], the noise levels of `grid` as a flow's, and 0."""
    return [*sigmas()[grid(steps)].tolist(), 0.0]


def times(sigma: Tensor) -> Tensor:
    """[b], the time at which noise level `sigma` [b] is reached, in between where it is between two."""
    found = np.interp(sigma.detach().double().cpu().numpy(), sigmas(), np.arange(STEPS))
    whole = np.round(found)
    # a level kept in fp32 is a whole time up to its rounding
    exact = np.where(np.abs(found - whole) < 2e-3, whole, found)
    return torch.from_numpy(exact).to(sigma.device, torch.float32)


def levels_of(t: Tensor) -> Tensor:
    """float64 [...], noise levels of the times `t` (int64 [...]); 0 for time -1."""
    levels = np.append(sigmas(), 0.0)
    return torch.from_numpy(levels[t.cpu().numpy()]).to(t.device)


def levels_at(t: Tensor) -> Tensor:
    """float64 [b], noise levels of times `t` [b] from 0 on, in between where a time is between two."""
    found = np.interp(t.detach().double().cpu().numpy(), np.arange(STEPS), sigmas())
    return torch.from_numpy(found).to(t.device)


def descent(t: Tensor, steps: int) -> Tensor:
    """int64 [steps + 1, b]: floor(t (1 - i / steps)) of times `t` [b], and -1, where the data is.

    Raises ValueError for times that are too early for `steps` different ones.
    """
    each = torch.stack([t * (steps - i) // steps for i in range(steps)])
    if steps > 1 and bool((each.diff(dim=0) >= 0).any()):
        raise ValueError(f"times must be {steps - 1} or later to take {steps} steps to 0, got {int(t.min())}")
    return torch.cat([each, torch.full_like(t, -1)[None]])
