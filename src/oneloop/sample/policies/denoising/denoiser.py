"""What walks and pictures of a flow policy need of it."""

from typing import Any, Protocol

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.sample.policies.denoising.here import Condition


class Steps(Protocol):
    """How images are made."""

    @property
    def steps(self) -> int:
        """Calls of the network for an image."""


class Denoiser(Protocol):
    """A network that turns noise into images, and its sampler.

    n rollouts   a actions   b latents of one call
    """

    device: torch.device
    network: Any
    """A `FlowNetwork`."""
    version: int
    """Number of the weights, which actions are marked with."""
    shape: tuple[int, ...]
    """Of a latent."""
    stored: torch.dtype
    """What latents are rounded to before they are kept."""
    sigmas: list[float]
    """Noise levels from 1 to 0, one more than there are calls."""

    @property
    def options(self) -> Steps:
        """How many calls make an image."""

    @property
    def room(self) -> int:
        """Latents of one call where nothing is learned."""

    @property
    def draws(self) -> bool:
        """Whether steps draw noise at all."""

    def condition(self, rollouts: Rollouts, rows: Tensor) -> Condition:
        """What the network knows of the prompts of `rows` [b]."""

    def moves(self, rollouts: Rollouts, rows: Tensor, step: Tensor) -> Tensor:
        """[a, 4], `sde.Step` of each step [a] of `rows` [a]."""

    def velocity(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """[b, ...] in fp32, of latents at noise levels `sigma` [b]."""

    def render(self, clean: Tensor, condition: Condition) -> Tensor:
        """Images [b, C, H, W] in [0, 1] of predicted data [b, ...]."""
