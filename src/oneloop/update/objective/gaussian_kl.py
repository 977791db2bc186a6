"""Distance to the reference of a flow policy, exact for each denoising step (Flow-GRPO, arXiv 2505.05470).

    KL(now | reference) per dimension = mean over dimensions of (mean - mean_reference)^2 / (2 std^2)

Both Gaussians have the std of the noise schedule. Flow-GRPO's code divides by g^2 instead of std^2 = g^2
(sigma - sigma'), so its KL is this one times (sigma - sigma') of the step. Steps that are not drawn have no
KL and count 0. Not here: the estimate from sampled actions (kl.py).
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts


@part(
    reads=("actions.reference", "actions.logprob"),
    writes=("actions.kl",),
    units=("nats_per_dim",),
    paper="arXiv 2505.05470",
)
class GaussianKl:
    """Coefficient times the KL to the policy's reference, on the actions select kept."""

    coefficient: Annotated[float, Field(ge=0)] = 0.001
    """How strongly the policy is held to the reference."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `kl`)."""
        kl = gaussian_kl(here.mean, here.reference_mean, here.std)  # type: ignore[attr-defined]
        return self.coefficient * kl, {"kl": kl.detach()}


def gaussian_kl(mean: Tensor, reference: Tensor, std: Tensor) -> Tensor:
    """[a], per dimension, of Normal(`mean` [a, ...], `std` [a]^2) from the reference; 0 where `std` is 0."""
    distance = (mean - reference).flatten(1).square().mean(1)
    drawn = std > 0
    return torch.where(drawn, distance / (2 * torch.where(drawn, std, 1.0).square()), 0.0)
