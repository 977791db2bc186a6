"""Flow matching: the supervised loss of flow models (arXiv 2210.02747), on images that somebody else made.

    x = (1 - sigma) data + sigma noise        loss = mean over dimensions of (v(x, sigma) - (noise - data))^2

One noise and one sigma a demonstration, drawn anew at each step from (seed, step, rollout id). `sigma` is
uniform or, as in Stable Diffusion 3 (2403.03206), logit-normal: middle noise levels are harder and come more
often.

An error e of the data that a network predicts is an error e / sigma of the velocity, so where little noise is
left tiny details outweigh what the picture shows. `even_below` multiplies the loss by
min(1, sigma / even_below)^2: below it errors of the data weigh alike, as in min-SNR weighting (2303.09556). A
small network that starts from nothing learns shapes several times sooner with .5.

A diffusion model that predicts noise is a flow in other coordinates, in which the error of its noise is
(1 - sigma) times that of its velocity: `error_of: noise` with `sigma: times` is DDPM's loss (2006.11239).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from scipy.special import ndtri
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts


@part(
    reads=("actions.latent",),
    writes=("actions.nll",),
    units=("nats_per_dim",),
    paper="arXiv 2210.02747",
)
class FlowMatching:
    """Squared error of the velocity at a random noise level; for a phase with `sample: demonstrations`."""

    sigma: Literal["uniform", "logit_normal", "times"] = "logit_normal"
    """Distribution of the noise levels; times: those of a diffusion model's times, all alike."""
    error_of: Literal["velocity", "noise"] = "velocity"
    """Prediction whose squared error is the loss; noise, with `times`, is the loss of DDPM."""
    even_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise level below which errors of the data, not of the velocity, have equal weight; 0: at no level."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `nll`, the same: an image model's loss stands where a text model's does)."""
        shape = rollouts.actions.latent.shape[1:]
        draws = rollouts.uniforms("flow_matching", actions, int(shape.numel()) + 1).numpy() + 2.0**-54
        normal = torch.from_numpy(ndtri(draws)).float()
        level = torch.from_numpy(draws[:, 0]).float()
        if self.sigma == "times":
            sigma = here.levels(level).cpu()  # type: ignore[attr-defined]
        else:
            sigma = level if self.sigma == "uniform" else normal[:, 0].sigmoid()
        loss: Tensor = here.matching(normal[:, 1:].view(-1, *shape), sigma)  # type: ignore[attr-defined]
        if self.error_of == "noise":
            loss = loss * (1 - sigma).square().to(loss)
        weight = (sigma / self.even_below).clamp(max=1).square() if self.even_below else torch.ones(())
        return loss * weight.to(loss), {"nll": loss.detach()}
