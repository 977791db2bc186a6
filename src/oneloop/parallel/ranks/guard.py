"""A block that runs out of memory lets its rank finish the pass, in which other ranks wait for it.

Ranks that hold shares of weights gather every block together, forward and backward. A rank that left the pass
would leave all others waiting. So a block that runs out of memory hands its input on as its output, later
blocks do the same, the gradients are zeros, and when the pass is over the ranks agree to make smaller ones.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


class MemoryGuard:
    """Whether a block of this rank has run out of memory in the present pass."""

    out = False

    def ran_out(self) -> bool:
        """Whether a block has run out since the last time this was asked."""
        out, self.out = self.out, False
        return out

    def short(self) -> None:
        """Notes that a block has run out; gives back what the process kept for later."""
        self.out = True
        torch.cuda.empty_cache()


@torch.no_grad()
def can_be_guarded(entry: nn.Module, block: nn.Module) -> bool:
    """Whether `block` of the decoder `entry` makes one tensor of the shape of its first input."""
    seen: list[bool] = []

    def look(_: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        seen.append(bool(given) and isinstance(made, Tensor) and given[0].shape == made.shape)

    hook = block.register_forward_hook(look)
    try:
        entry(input_ids=torch.zeros(1, 2, dtype=torch.long, device=next(block.parameters()).device))
    finally:
        hook.remove()
    return seen == [True]


class Guarded:
    """`forward` of `block`, whose first input and whose output are hidden states."""

    def __init__(self, block: nn.Module, memory: MemoryGuard):
        self.block, self.forward, self.memory = block, block.forward, memory

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The output of `forward`, or the first input once memory has run out."""
        others = tree_leaves((inputs[1:], named))
        alone = not any(isinstance(other, Tensor) and other.requires_grad for other in others)
        if alone and inputs and torch.is_grad_enabled():
            anchor = inputs[0].new_zeros(1).requires_grad_()  # first blocks may have inputs without gradient
            return _Guard.apply(anchor, inputs[0], self, inputs[1:], named)
        return self.forward(*inputs, **named)


class _Guard(torch.autograd.Function):
    """The block's own graph inside of one node of the pass."""

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, states: Tensor, guard: Guarded, rest: tuple[Any, ...], named: dict[str, Any]
    ) -> Tensor:
        ctx.guard, ctx.made, ctx.given = guard, None, states.detach().requires_grad_(states.requires_grad)
        if not guard.memory.out:
            try:
                with torch.enable_grad():
                    ctx.made = guard.forward(ctx.given, *rest, **named)
            except torch.OutOfMemoryError:
                guard.memory.short()
        return states.detach().clone() if ctx.made is None else ctx.made.detach()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        guard, made, given = ctx.guard, ctx.made, ctx.given
        ctx.made = ctx.given = None
        if made is not None and made.requires_grad and not guard.memory.out:
            try:
                torch.autograd.backward(made, upstream[0])
            except torch.OutOfMemoryError:
                guard.memory.short()
        del made
        if guard.memory.out:
            for weight in guard.block.parameters():
                if weight.requires_grad and weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
        gradient = given.grad
        if gradient is None and given.requires_grad:
            gradient = torch.zeros_like(given)
        return None, gradient, None, None, None
