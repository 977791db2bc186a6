"""The reference of a flow policy: its own earlier weights, frozen or a moving average.

    frozen     the weights at the start of the phase (with adapters: the network without them)
    moving     reference <- decay reference + (1 - decay) weights, after every update

A policy that moves by u an update runs ahead of a moving reference by u decay / (1 - decay) in the long run,
so what is measured against it (OneReward's win-rate, arXiv 2508.21066, Algorithm 2) levels off, where it
keeps growing against a frozen one. Decay 0 is the policy itself, decay 1 stands still.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oneloop.core.protocols import Adapted, Contextual


class FlowReference:
    """Reference weights of a network; none before `keep`."""

    def __init__(self, decay: float | None):
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        self._acting = False

    def kept(self, network: Any) -> bool:
        """Whether there is a reference (a network with adapters always has one: itself without them)."""
        return bool(self.weights) or self._is_bare(network)

    def _is_bare(self, network: Any) -> bool:
        return self.decay is None and isinstance(network, Adapted)

    def keep(self, network: Any) -> None:
        """Makes a copy of the present weights the reference."""
        if not self._is_bare(network):
            self.weights = {name: weight.detach().clone() for name, weight in trained(network).items()}

    @torch.no_grad()
    def follow(self, network: Any) -> None:
        """Moves a moving average by one step; call it after an update."""
        if self.decay is not None and self.weights:
            for name, weight in trained(network).items():
                self.weights[name].mul_(self.decay).add_(weight, alpha=1 - self.decay)

    @contextmanager
    def acting(self, network: Any) -> Iterator[None]:
        """Inside this context `call` uses the reference. Raises ValueError when none is kept."""
        if self._is_bare(network):
            with network.without_adapters():
                yield
            return
        if not self.weights:
            raise ValueError(
                "this policy keeps no reference; a part that reads 'reference' must ask for one first"
            )
        self._acting = True
        try:
            yield
        finally:
            self._acting = False

    def call(self, network: Any, *inputs: Any) -> Tensor:
        """The network's answer, or within `acting` the reference's; the network's own weights stay in
        place."""
        answer: Tensor = functional_call(network, self.weights, inputs) if self._acting else network(*inputs)
        return answer

    def context(self, network: Contextual, condition: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the network, or within `acting` the reference, makes of a condition for all noise levels."""
        if not self._acting:
            return network.context(condition)
        named = {f"network.{name}": weight for name, weight in self.weights.items()}
        made: dict[str, Tensor] = functional_call(_Context(network), named, (condition,))
        return made


class _Context(nn.Module):
    """`context` as the forward pass of a module, which `functional_call` can give other weights."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, condition: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `oneloop.core.protocols.Contextual`."""
        made: dict[str, Tensor] = self.network.context(condition)
        return made


def trained(network: Any) -> dict[str, Tensor]:
    """{name: weight} of the trained weights."""
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
