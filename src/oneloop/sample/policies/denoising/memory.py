"""What a flow policy needs of memory: its network without weights, and what a batch of images leaves behind.

    weights + gradients + optimiser + fp32 master + reference + latents + images + activations + decoding

All but the last two are exact to the byte: every node of a tree has one latent. Activations are those of one
micro-batch, decoding is a VAE's at its widest; both are estimates. A pipeline's VAE and text encoders count
as weights: they stay on the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from oneloop.core.memory import ACTIVATIONS, MemoryRow, Needs
from oneloop.core.protocols import Adapted, Demand, FlowNetworkDefaults, Outlined, trait
from oneloop.sample.policies.denoising.walk import check_demonstration

LESS = (
    "Lower learner.tokens_per_micro_batch, policy.flow.tokens_per_call or plan.groups, or keep latents in "
    "half the bytes (policy.flow.stored: bfloat16)"
)


@dataclass(frozen=True)
class FlowOutline:
    """`PolicyOutline` of a flow policy."""

    network: Any
    """The network on the meta device."""
    device: str
    steps: int
    """Network calls for an image."""
    narrow: bool
    """Whether the network's arithmetic is bf16."""
    stored: torch.dtype
    """Type of the latents that are kept."""
    tokens_per_call: int
    """Tokens forwarded at a time without gradients."""

    def notes(self, demands: Sequence[Demand]) -> list[str]:
        """No notes: the empty list."""
        return []

    def check_row(self, row: Mapping[str, Any], where: str, demonstrated: bool) -> None:
        """As `PolicyOutline` says: a demonstration is a picture that the network can learn."""
        if demonstrated:
            check_demonstration(self.network, row, where)

    def memory(self, demands: Sequence[Demand]) -> Needs:
        """As `PolicyOutline` says."""
        return Needs(tuple(memory_rows(self, demands)), self.device, LESS)


def empty_network(model: Any) -> Any:
    """The network of a `flow_model` part as it will be trained, without memory for its weights."""
    if isinstance(model, Outlined):
        return model.outline()
    with torch.device("meta"):
        return model.build()


def memory_rows(policy: FlowOutline, demands: Sequence[Demand]) -> list[MemoryRow]:
    """What is held all the time, and what the largest of the phases among `demands` takes besides."""
    learned = [demand for demand in demands if demand.micro_batch is not None]
    passing = [_passing(policy, demand) for demand in learned]
    steady = _steady(policy, any(demand.reference for demand in learned))
    return [*steady, *max(passing, key=lambda phase: sum(row.bytes for row in phase))]


def _steady(policy: FlowOutline, reference: bool) -> list[MemoryRow]:
    network = policy.network
    weights = list(network.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    count, learned = (sum(weight.numel() for weight in some) for some in (weights, trained))
    own, gradients = (
        sum(weight.numel() * weight.element_size() for weight in some) for some in (weights, trained)
    )
    kept = reference and not isinstance(network, Adapted)
    autocast = 2 * count if policy.narrow else 0
    return [
        MemoryRow("weights", own, f"{count:,} parameters"),
        MemoryRow("gradients", gradients, f"{learned:,} are trained"),
        MemoryRow("optimiser", 8 * learned, "two moments in fp32"),
        MemoryRow("autocast", autocast, "bf16 weights of a forward pass"),
        MemoryRow("reference", own if kept else 0, "the weights at the start of a phase"),
    ]


def _passing(policy: FlowOutline, demand: Demand) -> list[MemoryRow]:
    """Memory that one step takes besides what is held all the time."""
    assert demand.micro_batch is not None
    network, images = policy.network, demand.rollouts
    edges, calls = images * (policy.steps - 1), images * policy.steps
    for forks, factor in demand.forks:
        trees = images // factor ** len(forks)
        edges = trees * sum(nodes(forks, factor, step) for step in range(policy.steps - 1))
        calls = trees * sum(nodes(forks, factor, step - 1) for step in range(policy.steps))
    if not demand.sampled:
        edges = images
    width = prod(network.shape)
    latents = edges * width * (policy.stored.itemsize if demand.sampled else 4)
    parameters = sum(weight.numel() for weight in network.parameters())
    micro_batch = demand.micro_batch(torch.device(policy.device), parameters)
    tokens = min(micro_batch, max(edges, 1) * network.tokens)
    states = tokens * ACTIVATIONS * network.units
    at_once = min(images, max(1, policy.tokens_per_call // network.tokens))
    pixels = prod(network.picture[1:])
    decoding = at_once * pixels * trait(network, FlowNetworkDefaults, "decoder_maps") * 4
    return [
        MemoryRow(
            "latents", latents, f"{edges:,} actions of {images:,} images, {calls:,} calls of the network"
        ),
        MemoryRow("start noise", 4 * images * width, "fp32"),
        MemoryRow(
            "images",
            4 * images * prod(network.picture),
            f"{network.picture[1]} x {network.picture[2]} pixels, fp32",
        ),
        MemoryRow("activations", 4 * states, f"about, {tokens:,} tokens a micro-batch"),
        MemoryRow("decoding", decoding, f"about, {at_once} images at a time"),
    ]


def nodes(forks: Sequence[int], factor: int, step: int) -> int:
    """Edges at `step` of a tree with `factor` branches at `forks`; before the first, its one start."""
    return int(factor ** sum(at <= step for at in forks))
