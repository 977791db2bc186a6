"""Activation checkpointing: a block's activations are thrown away and computed again in the backward pass."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from oneloop.parallel.ranks.blocks import blocks
from oneloop.sample.policies.tokens.flat_attention import attending_again


class Recomputed:
    """`forward` of a block, of which only the inputs are kept for the backward pass."""

    def __init__(self, forward: Callable[..., Any]):
        self.forward = forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """What `forward` says."""
        if not torch.is_grad_enabled():
            return self.forward(*inputs, **named)
        # nothing is drawn in a forward pass: there is no dropout
        return checkpoint(
            self.forward,
            *inputs,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), attending_again()),
            **named,
        )


def recompute_blocks(model: nn.Module) -> None:
    """Has every repeated block of `model` recomputed. Copies of the model do the same.

    Raises ValueError for a model without repeated blocks.
    """
    found = blocks(model)
    if not found:
        raise ValueError(
            f"policy.language.checkpointing: {type(model).__name__} has no list of blocks to recompute; "
            "take false"
        )
    for block in found:
        block.forward = Recomputed(block.forward)  # type: ignore[method-assign]
