"""Distance to the reference of a flow policy, exact for each denoising step (Flow-GRPO, arXiv 2505.05470).

    distance = mean over dimensions of (mean - mean_reference)^2

    divisor: variance     distance / (2 std^2)    KL(now | reference) of the step's two Gaussians, a dimension
    divisor: diffusion    distance / (2 g^2)      the same times sigma - sigma': std^2 = g^2 (sigma - sigma')

Both Gaussians have the std of the noise schedule. The paper's equation is `variance`; the authors' code
(`kl_loss` of their train_sd3.py) is `diffusion`, and their coefficients (.04, .01) go with it: in 10 steps
it is some ten times the smaller. Steps that are not drawn have no KL and count 0. Not here: the estimate from
sampled actions (kl.py).
"""

from typing import Annotated, Literal

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
    """Weight of the KL in the loss; 0: none."""
    divisor: Literal["diffusion", "variance"] = "diffusion"
    """Divisor of the squared distance: 2 g^2 (diffusion, Flow-GRPO's code) or 2 std^2 (variance, the KL)."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `kl`, with the divisor that was chosen)."""
        span = here.span if self.divisor == "diffusion" else None  # type: ignore[attr-defined]
        kl = gaussian_kl(here.mean, here.reference_mean, here.std, span)  # type: ignore[attr-defined]
        return self.coefficient * kl, {"kl": kl.detach()}


def gaussian_kl(mean: Tensor, reference: Tensor, std: Tensor, span: Tensor | None = None) -> Tensor:
    """[a], per dimension, of Normal(`mean` [a, ...], `std` [a]^2) from the reference; 0 where `std` is 0.

    With `span` [a], how far the noise level falls in each step, the KL times it (Flow-GRPO's code).

    >>> mean, reference = torch.tensor([[0.1, 0.1]]), torch.zeros(1, 2)
    >>> gaussian_kl(mean, reference, std=torch.tensor([0.5]))
    tensor([0.0200])
    """
    distance = (mean - reference).flatten(1).square().mean(1)
    drawn = std > 0
    kl = torch.where(drawn, distance / (2 * torch.where(drawn, std, 1.0).square()), 0.0)
    return kl if span is None else kl * span
