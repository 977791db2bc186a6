"""From a noisy latent to the data in a few calls of a network, with a gradient through the last of them.

    x' = x + (sigma' - sigma) v(x, sigma)        data = x - sigma v(x, sigma) at the last level

One-DM's second stage (arXiv 2409.04004) takes five calls from each item's own time and reads the word that
comes of it, with a gradient through all five. With fewer it is DRaFT-K (2309.17400).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from oneloop.models.handwriting.schedule import descent, levels_of


def unroll(
    velocity: Callable[[Tensor, int], Tensor], latent: Tensor, levels: Tensor, calls: int | None = None
) -> tuple[Tensor, Tensor]:
    """(data [b, ...] that follows from `latent` [b, ...], the first call's velocity [b, ...]).

    velocity(latent, i): of latents at the levels `levels[i]`; `levels` [steps + 1, b] fall to 0; `calls`: how
    many of the last calls are differentiated (None: all). Raises ValueError for more calls than steps.
    """
    steps = len(levels) - 1
    if calls is not None and not 1 <= calls <= steps:
        raise ValueError(f"calls must lie in 1..{steps}, the steps that are unrolled, got {calls}")
    first = None
    for step in range(steps):
        with torch.set_grad_enabled(torch.is_grad_enabled() and step >= steps - (calls or steps)):
            found = velocity(latent, step)
            fall = (levels[step + 1] - levels[step]).to(latent)
            latent = latent + fall.view(-1, *[1] * (latent.ndim - 1)) * found
        first = found if first is None else first
    assert first is not None
    return latent, first


def unrolled_ddim(
    model: Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor],
    z_t: Tensor,
    t: Tensor,
    cond: dict[str, Tensor],
    steps: int = 5,
    k_last: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(predicted data [b, ...], noise [b, ...] that the first call predicted), DDIM without noise of its own.

    model(z_t, t, cond): noise in `z_t` [b, ...] at times `t` (int64 [b]); `k_last`: how many of the last
    calls have a gradient, None: all. Raises ValueError for a time earlier than `steps`, and for another
    `k_last` than 1..steps.
    """
    times = descent(t, steps)
    levels = levels_of(times)
    predicted = []

    def velocity(x: Tensor, step: int) -> Tensor:
        z, a, b = diffused(x, levels[step])
        noise = model(z, times[step], cond)
        predicted.append(noise)
        return noise - (z - b * noise) / a

    _, a, b = diffused(z_t, levels[0])
    data, _ = unroll(velocity, z_t / (a + b), levels, k_last)
    return data, predicted[0]


def diffused(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(z [b, ...], shares of the data and of the noise in it, [b, 1, ...]) of a flow's latent `x` at noise
    level `sigma` [b], below 1."""
    level = sigma.double().view(-1, *[1] * (x.ndim - 1))
    scale = ((1 - level).square() + level.square()).sqrt()
    return x / scale.to(x), ((1 - level) / scale).to(x), (level / scale).to(x)
