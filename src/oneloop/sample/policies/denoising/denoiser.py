"""The protocol of a flow policy that walk.py and rendering.py need."""

from typing import Any, Protocol

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.sample.policies.denoising.here import Condition


class StepOptions(Protocol):
    """Sampling options."""

    @property
    def steps(self) -> int:
        """Network calls for an image."""


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
    """Shape of one latent."""
    stored: torch.dtype
    """Type that latents are rounded to before they are kept."""
    sigmas: list[float]
    """Noise levels from 1 to 0, one more than there are calls."""

    @property
    def options(self) -> StepOptions:
        """Sampling options: the number of network calls for an image."""

    @property
    def room(self) -> int:
        """Most latents of one network call without gradients."""

    @property
    def draws(self) -> bool:
        """Whether any step draws noise; false for an ODE sampler."""

    def condition(self, rollouts: Rollouts, rows: Tensor) -> Condition:
        """The network's inputs from the prompts of `rows` [b]."""

    def moves(self, rollouts: Rollouts, rows: Tensor, step: Tensor) -> Tensor:
        """[a, 4], `sde.NoiseStep` of each step [a] of `rows` [a]."""

    def velocity(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """[b, ...] in fp32, velocities of latents at noise levels `sigma` [b]."""

    def render(self, clean: Tensor, condition: Condition) -> Tensor:
        """Images [b, C, H, W] in [0, 1] of predicted data [b, ...]."""
