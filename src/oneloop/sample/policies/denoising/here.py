"""Actions of a flow policy under the present weights, computed from one network call.

a chosen actions   b distinct latents they start from (siblings share one)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from oneloop.core.protocols import Contextual, Contrasting, Timed
from oneloop.models.handwriting.unrolled import unroll
from oneloop.sample.policies.denoising.sde import gaussian_entropy, gaussian_logprob

Condition = dict[str, Tensor]


@dataclass(frozen=True)
class Inputs:
    """b latents and the a actions (steps) that start from them, on the policy's device."""

    latent: Tensor
    """[b, ...]."""
    sigma: Tensor
    """[b], their noise levels."""
    condition: Condition
    """What the network knows of their prompts, each [b, ...]."""
    which: Tensor
    """int64 [a], the latent each action starts from."""
    of_latent: Tensor
    """[a], see `sde.NoiseStep`."""
    of_velocity: Tensor
    """[a]."""
    std: Tensor
    """[a], 0 where a step is not drawn."""
    span: Tensor
    """[a], how far the noise level falls."""

    def mean(self, velocity: Tensor) -> Tensor:
        """[a, ...], where each action is drawn around, of the velocities [b, ...]."""
        kept, moved = expand(self.of_latent, self.latent), expand(self.of_velocity, self.latent)
        return kept * self.latent[self.which] + moved * velocity[self.which]

    def clean(self, velocity: Tensor) -> Tensor:
        """[b, ...], the data that the velocities [b, ...] predict."""
        return self.latent - expand(self.sigma, self.latent) * velocity

    def logprob(self, latent: Tensor, mean: Tensor) -> Tensor:
        """[a], of `latent` [a, ...]; 0 for a step that is not drawn."""
        drawn = self.std > 0
        logprob = gaussian_logprob(latent, mean, torch.where(drawn, self.std, 1.0))
        return torch.where(drawn, logprob, 0.0)


class VelocityField(Protocol):
    """What `FlowHere` needs of the policy."""

    network: Any

    def velocity(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """[b, ...]."""

    def render(self, clean: Tensor, condition: Condition) -> Tensor:
        """[b, C, H, W]."""

    def as_reference(self) -> AbstractContextManager[None]:
        """Within it, `velocity` is the reference's."""


class FlowHere:
    """`protocols.Here` for denoising steps, and what objectives on flow models ask besides."""

    def __init__(
        self,
        policy: VelocityField,
        inputs: Inputs,
        latent: Tensor,
        render: Callable[[int], Tensor],
        told: Callable[[], Condition],
    ):
        self.policy, self.inputs, self.latent, self._render, self._told = policy, inputs, latent, render, told

    @cached_property
    def velocity(self) -> Tensor:
        """[b, ...], the network called once."""
        return self._velocity(self.inputs)

    @cached_property
    def mean(self) -> Tensor:
        """[a, ...], of the Gaussian each action was drawn from."""
        return self.inputs.mean(self.velocity)

    @property
    def std(self) -> Tensor:
        """[a], its standard deviation, which no weight changes; 0 where a step is not drawn."""
        return self.inputs.std

    @property
    def span(self) -> Tensor:
        """[a], how far the noise level falls in each step."""
        return self.inputs.span

    @cached_property
    def logprob(self) -> Tensor:
        """[a], nats per dimension; 0 for a step that is not drawn."""
        return self.inputs.logprob(self.latent, self.mean)

    @property
    def entropy(self) -> Tensor:
        """[a], differential, nats per dimension; 0 for a step that is not drawn. No weight changes it."""
        drawn = self.std > 0
        return torch.where(drawn, gaussian_entropy(torch.where(drawn, self.std, 1.0)), 0.0)

    @property
    def logits(self) -> Tensor:
        """Refused: an image has no vocabulary."""
        raise TypeError("a flow policy has no logits; take an objective that works on log-probabilities")

    @cached_property
    def output(self) -> Tensor:
        """[a, C, H, W], the image in [0, 1] that each action's own call of the network predicts."""
        image = self.policy.render(self.inputs.clean(self.velocity), self.inputs.condition)
        return image[self.inputs.which]

    def rendered(self, calls: int) -> Tensor:
        """[a, C, H, W], the image in [0, 1] that the call after each action renders, as if the rollout ended
        there; differentiable through the last `calls` calls of the network (see rendering.py)."""
        return self._render(calls)

    @cached_property
    def reference_mean(self) -> Tensor:
        """[a, ...], of the Gaussian under the policy's reference, no gradient."""
        with torch.no_grad(), self.policy.as_reference():
            if not isinstance(self.policy.network, Contextual):
                return self.inputs.mean(self._velocity(self.inputs))
            return self.inputs.mean(self._velocity(replace(self.inputs, condition=self._told())))

    @property
    def reference(self) -> Tensor:
        """[a], log-probability under the reference, no gradient."""
        return self.inputs.logprob(self.latent, self.reference_mean)

    def matching(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """[a], squared error per dimension of the velocity at (1 - sigma) latent + sigma noise.

        `noise` [a, ...], `sigma` [a]: the loss of flow matching, with the action's latent as the data.
        """
        noised = self._noised(noise, sigma)
        velocity = self.policy.velocity(noised, sigma.to(self.latent), self.condition)
        return (velocity - (noise.to(self.latent) - self.latent)).flatten(1).square().mean(1)

    def unrolled(self, noise: Tensor, share: Tensor, steps: int, calls: int | None = None) -> Tensor:
        """[a, C, H, W], the image that `steps` calls make of (1 - sigma) latent + sigma noise.

        `share` [a] in [0, 1) draws sigma: of the network's times from `steps` + 1 on, if it has any, else
        evenly; `calls`: how many of the last calls have a gradient, None: all.
        """
        network = self.policy.network
        if isinstance(network, Timed):
            sigma = network.time_levels(share, steps + 1)
            levels = network.descent(sigma, steps).to(self.latent)
        else:
            sigma = share
            levels = torch.stack([share * (1 - i / steps) for i in range(steps + 1)]).to(self.latent)
        condition = self.condition

        def velocity(latent: Tensor, step: int) -> Tensor:
            return self.policy.velocity(latent, levels[step], condition)

        clean, _ = unroll(velocity, self._noised(noise, sigma), levels, calls)
        return self.policy.render(clean, condition)

    def levels(self, share: Tensor) -> Tensor:
        """[a], noise levels of the network's own times, drawn evenly by `share` [a] in [0, 1).

        Raises ValueError for a network without times.
        """
        network = self.policy.network
        if not isinstance(network, Timed):
            raise ValueError(
                f"flow_matching.sigma 'times' needs a network that has times, such as one_dm; "
                f"{type(network).__name__} has none: take uniform or logit_normal"
            )
        return network.time_levels(share)

    @property
    def views(self) -> tuple[dict[str, Tensor], Tensor]:
        """({branch: [a, 2, p] embeddings of two references of a writer}, writers [a]).

        Raises ValueError for a network that looks at no references.
        """
        network = self.policy.network
        if not isinstance(network, Contrasting):
            name = type(network).__name__
            raise ValueError(f"style_contrast needs a network of hands, such as one_dm; {name} is none")
        return network.views(self.condition)

    @cached_property
    def condition(self) -> Condition:
        """What the network knows of each action's prompt, [a, ...] each."""
        return {name: value[self.inputs.which] for name, value in self.inputs.condition.items()}

    def _noised(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """[a, ...], the action's latent as data with `noise` [a, ...] at levels `sigma` [a]."""
        level = expand(sigma.to(self.latent), self.latent)
        return (1 - level) * self.latent + level * noise.to(self.latent)

    def _velocity(self, x: Inputs) -> Tensor:
        """One call for each noise level: what is forwarded together can change the last bits of a result."""
        counts = torch.unique_consecutive(x.sigma, return_counts=True)[1].tolist()
        conditions = {name: value.split(counts) for name, value in x.condition.items()}
        levels = zip(x.latent.split(counts), x.sigma.split(counts), strict=True)
        return torch.cat(
            [
                self.policy.velocity(latent, sigma, {name: value[i] for name, value in conditions.items()})
                for i, (latent, sigma) in enumerate(levels)
            ]
        )


def expand(values: Tensor, like: Tensor) -> Tensor:
    """`values` [b] with as many trailing ones as `like` [b, ...] has dimensions."""
    return values.view(-1, *[1] * (like.ndim - 1))
