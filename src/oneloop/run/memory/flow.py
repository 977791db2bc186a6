"""What a flow policy needs of memory: its network without weights, and what a batch of images leaves behind.

    weights + gradients + optimiser + fp32 master + reference + latents + images + activations + decoding

All but the last two are exact to the byte: every node of a tree has one latent. Activations are those of one
micro-batch, decoding is a VAE's at its widest; both are estimates. A pipeline's VAE and text encoders count
as weights: they stay on the device.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from oneloop.core.memory import ACTIVATIONS, Row, device_of
from oneloop.core.part import declared
from oneloop.recipe.recipe import Phase
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.policies.flow import Flow

VAE_MAPS = 4 * 128
"""Numbers per pixel that a VAE decoder holds at its widest: about four maps of 128 channels."""


def flow_rows(policy: Flow, phases: Sequence[Phase]) -> list[Row]:
    """All rows. Raises ValueError when the network cannot be found."""
    network = empty_network(policy)
    steady = _steady(policy, network, phases)
    passing = [_passing(policy, network, phase) for phase in phases]
    return [*steady, *max(passing, key=lambda rows: sum(row.bytes for row in rows))]


def empty_network(policy: Flow) -> Any:
    """The network as it will be trained, without memory for its weights."""
    if hasattr(policy.model, "outline"):
        return policy.model.outline()
    with torch.device("meta"):
        return policy.model.build()


def _steady(policy: Flow, network: Any, phases: Sequence[Phase]) -> list[Row]:
    weights = list(network.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    count, learned = (sum(weight.numel() for weight in some) for some in (weights, trained))
    own, gradients = (
        sum(weight.numel() * weight.element_size() for weight in some) for some in (weights, trained)
    )
    reads = {column for phase in phases for term in phase.objective for column in declared(term, "reads")}
    kept = "actions.reference" in reads and not hasattr(network, "without_adapters")
    autocast = 2 * count if policy.narrow else 0
    return [
        Row("weights", own, f"{count:,} parameters"),
        Row("gradients", gradients, f"{learned:,} are trained"),
        Row("optimiser", 8 * learned, "two moments in fp32"),
        Row("autocast", autocast, "bf16 weights of a forward pass"),
        Row("reference", own if kept else 0, "the weights at the start of a phase"),
    ]


def _passing(policy: Flow, network: Any, phase: Phase) -> list[Row]:
    """What one step takes."""
    images = (phase.plan.in_flight or phase.plan.groups) * phase.plan.count.n
    edges, calls = images * (policy.steps - 1), images * policy.steps
    for part in phase.plan.dress:
        if isinstance(part, Fork):
            trees = images // part.leaves
            edges = trees * sum(nodes(part, step) for step in range(policy.steps - 1))
            calls = trees * sum(nodes(part, step - 1) for step in range(policy.steps))
    if phase.sample == "demonstrations":
        edges = images
    width = prod(network.shape)
    stored = getattr(torch, policy.stored).itemsize
    latents = edges * width * (4 if phase.sample == "demonstrations" else stored)
    tokens = min(
        phase.learner.micro_batch(torch.device(device_of(policy.device))), max(edges, 1) * network.tokens
    )
    states = tokens * ACTIVATIONS * network.units
    at_once = min(images, max(1, policy.tokens_per_call // network.tokens))
    pixels = prod(network.picture[1:])
    decoding = at_once * pixels * VAE_MAPS * 4 if hasattr(network, "pipeline") else 0
    return [
        Row("latents", latents, f"{edges:,} actions of {images:,} images, {calls:,} calls of the network"),
        Row("start noise", 4 * images * width, "fp32"),
        Row(
            "images",
            4 * images * prod(network.picture),
            f"{network.picture[1]} x {network.picture[2]} pixels, fp32",
        ),
        Row("activations", 4 * states, f"about, {tokens:,} tokens a micro-batch"),
        Row("decoding", decoding, f"about, {at_once} images at a time"),
    ]


def nodes(fork: Fork, step: int) -> int:
    """Edges of a tree at `step`; before the first, its one start."""
    return int(fork.factor ** sum(at <= step for at in fork.steps))
