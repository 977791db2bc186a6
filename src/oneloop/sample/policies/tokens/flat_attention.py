"""Attention over a `Flat` row: two matrix products a block, and the same again in the backward pass.

    N tokens   c sequences of a block   L longest of them   S = P + L tokens that one sees
    H query heads   K key heads   G = H / K   D size of a head, Dv of its values

Models reach it as they reach the slot attention, through `AttentionInterface`; `attending` says for which
blocks, and only inside it is the function the model's. Probabilities are not kept, but made again in the
backward pass, so that memory grows with the tokens and not with their squares. All of it is in fp32 at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface

from oneloop.sample.policies.tokens.flat import Block

NAME = "oneloop_flat"


class _Present(NamedTuple):
    """What the model of a configuration attends to in this thread, and which of its layers have."""

    config: Any
    blocks: Sequence[Block]
    attended: list[nn.Module]


_PRESENT: ContextVar[_Present | None] = ContextVar("blocks of a flat row", default=None)


@contextmanager
def attending(config: Any, blocks: Sequence[Block]) -> Iterator[list[nn.Module]]:
    """Inside this context the model of `config` attends to `blocks`; gives the layers that have done so."""
    attended = list[nn.Module]()
    before, present = config._attn_implementation, _PRESENT.set(_Present(config, blocks, attended))
    config._attn_implementation = NAME
    try:
        yield attended
    finally:
        config._attn_implementation = before
        _PRESENT.reset(present)


def attending_again() -> AbstractContextManager[Any]:
    """The context of `attending` that is entered now, or none, to be entered once more later."""
    present = _PRESENT.get()
    return nullcontext() if present is None else attending(present.config, present.blocks)


def flat_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: query [1, H, N, D], key [1, K, N, D], value [1, K, N, Dv] -> [1, N, H, Dv].

    Raises ValueError for attention with soft caps or sinks.
    """
    if softcap is not None or s_aux is not None:
        raise ValueError(f"{type(module).__name__} has soft caps or attention sinks")
    present = _PRESENT.get()
    assert present is not None
    present.attended.append(module)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    flat = (part[0].transpose(0, 1) for part in (query, key, value))
    mixed: Tensor = _Attend.apply(*flat, present.blocks, scale)
    return mixed[None], None


AttentionInterface.register(NAME, flat_attention)


class _Attend(torch.autograd.Function):
    """query [N, H, D], key [N, K, D], value [N, K, Dv] -> [N, H, Dv], in the dtype of the query."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[Block], scale: float
    ) -> Tensor:
        """The mixture of the values that each query sees."""
        ctx.blocks, ctx.scale, ctx.dtypes = blocks, scale, (query.dtype, key.dtype, value.dtype)
        query, key, value = (_wide(part) for part in (query, key, value))
        ctx.save_for_backward(query, key, value)
        mixed = value.new_zeros(*query.shape[:2], value.shape[2])
        with torch.autocast(query.device.type, enabled=False):
            for block in blocks:
                law = _probabilities(_own(query, block, key.shape[1]), _seen(key, block), block.mask, scale)
                _add_own(mixed, _kept(torch.bmm(law, _seen(value, block)), block), block)
        return mixed.to(ctx.dtypes[0])

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The slopes of queries, keys and values."""
        query, key, value = ctx.saved_tensors
        slope, slopes = _wide(slope), [torch.zeros_like(part) for part in (query, key, value)]
        with torch.autocast(query.device.type, enabled=False):
            for block in ctx.blocks:
                asked, keys = _own(query, block, key.shape[1]), _seen(key, block)
                law = _probabilities(asked, keys, block.mask, ctx.scale)
                mixed = _kept(_own(slope, block, key.shape[1]), block)
                scores = torch.bmm(mixed, _seen(value, block).mT)
                scores = torch._softmax_backward_data(scores, law, -1, law.dtype).mul_(ctx.scale)
                _add_own(slopes[0], torch.bmm(scores, keys), block)
                _add_seen(slopes[1], torch.bmm(scores.mT, asked), block)
                _add_seen(slopes[2], torch.bmm(law.mT, mixed), block)
        return *(made.to(dtype) for made, dtype in zip(slopes, ctx.dtypes, strict=True)), None, None


def _wide(part: Tensor) -> Tensor:
    """The same without gaps, in fp32 at least."""
    return part.to(torch.promote_types(part.dtype, torch.float32)).contiguous()


def _probabilities(queries: Tensor, keys: Tensor, mask: Tensor, scale: float) -> Tensor:
    """[cK, GL, S] of queries [cK, GL, D] and keys [cK, S, D]."""
    mask = mask.to(queries.dtype).repeat(queries.shape[1] // len(mask), 1)
    return torch.baddbmm(mask[None], queries, keys.mT, alpha=scale).softmax(dim=-1)


def _own(flat: Tensor, block: Block, key_heads: int) -> Tensor:
    """[cK, GL, D] of a block's own tokens, from [N, H, D]; heads that share keys follow one another."""
    return _gathered(flat, block.tokens).reshape(len(block.tokens) * key_heads, -1, flat.shape[2])


def _seen(flat: Tensor, block: Block) -> Tensor:
    """[cK, S, D] of the prompt and of a block's own tokens, from [N, K, D]."""
    own = _gathered(flat, block.tokens)
    shared = flat[block.prefix].transpose(0, 1).expand(len(own), -1, -1, -1)
    return torch.cat([shared, own], 2).flatten(0, 1)


def _gathered(flat: Tensor, tokens: Tensor) -> Tensor:
    """[c, H, L, D] of `tokens` [c, L], from [N, H, D]."""
    rows = flat.flatten(1).index_select(0, tokens.flatten())
    return rows.view(*tokens.shape, *flat.shape[1:]).transpose(1, 2)


def _kept(own: Tensor, block: Block) -> Tensor:
    """`own` [cK, GL, D], made zero in place beyond the end of a sequence."""
    if block.kept is not None:
        own.view(len(block.kept), -1, block.kept.shape[1], own.shape[2]).mul_(block.kept[:, None, :, None])
    return own


def _add_own(flat: Tensor, made: Tensor, block: Block) -> None:
    """Adds what was made for a block's own tokens [cK, GL, D] to [N, H, D]."""
    _add(flat, made.view(len(block.tokens), flat.shape[1], -1, flat.shape[2]), block.tokens)


def _add_seen(flat: Tensor, made: Tensor, block: Block) -> None:
    """Adds what was made for what a block sees [cK, S, D] to [N, K, D]."""
    made = made.view(len(block.tokens), flat.shape[1], -1, flat.shape[2])
    shared = block.prefix.stop - block.prefix.start
    _add(flat, made[:, :, shared:], block.tokens)
    flat[block.prefix] += made[:, :, :shared].sum(0).transpose(0, 1)


def _add(flat: Tensor, made: Tensor, tokens: Tensor) -> None:
    """Adds `made` [c, H, L, D] to [N, H, D] at `tokens` [c, L]."""
    flat.flatten(1).index_add_(0, tokens.flatten(), made.transpose(1, 2).reshape(tokens.numel(), -1))
