"""The attention of one packed step, over the slot cache.

    decode:   each live row attends to its slot up to its length, all rows in one batched product;
    prefill:  each new sequence attends to itself, causally, and is written into its slot.
Models reach it through a public extension point of transformers: `AttentionInterface` names the function. The
step of the forward that is running is in `PRESENT`, because not every model passes keyword arguments down.
Not here: chunked, linear or sink attention (refused)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from oneloop.engines.slot_cache import SlotStep

PRESENT: ContextVar[SlotStep] = ContextVar("step of the slot engine")
"""The step that is being computed in this thread."""

# S slots, R live rows, W positions a slot, N packed tokens, H query heads, K key heads, D head size


def attend(
    step: SlotStep,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Store keys and values, then attend: query [N, H, D], key [N, K, D], value [N, K, Dv] -> [N, H, Dv]."""
    keys, values = step.cache.write(layer, key, value, step)
    pieces, rows = [], step.rows
    if rows:
        pieces.append(_decode(query[:rows], keys[:rows], values[:rows], step, scaling, window, softcap))
    for start, end in step.spans:
        q, k, v = (part[start:end].transpose(0, 1) for part in (query, key, value))
        pieces.append(_prefill(q, k, v, scaling, window, softcap))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """`attend` as transformers calls it: query [1, H, N, D], key and value [1, K, N, D] -> [1, N, H, Dv].

    Raises ValueError when the model has attention sinks.
    """
    if others.get("s_aux") is not None:
        raise ValueError(f"{type(module).__name__} uses attention sinks")
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    layer: int = module.layer_idx  # type: ignore[assignment]
    return attend(PRESENT.get(), layer, q, k, v, scaling, sliding_window, softcap)[None], None


def _decode(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    step: SlotStep,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Single-token queries [R, H, D] on key [R, K, W, D], value [R, K, W, Dv] -> [R, H, Dv]."""
    rows, heads, _, _ = key.shape
    query = query.reshape(rows, heads, -1, query.shape[-1]).to(
        key.dtype
    )  # [R, K, queries that share a key, D]
    hidden = step.hidden(window)
    if softcap is None and key.device.type != "cpu":
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=hidden, scale=scaling)
    else:
        scores = ((query * scaling) @ key.transpose(2, 3)).float()
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        mixed = scores.add_(hidden).softmax(dim=-1).to(value.dtype) @ value
    return mixed.reshape(rows, -1, mixed.shape[-1])


def _prefill(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, softcap: float | None
) -> Tensor:
    """One whole sequence, causal: query [H, T, D], key [K, T, D], value [K, T, Dv] -> [T, H, Dv]."""
    length, group = query.shape[1], query.shape[0] // key.shape[0]
    short = window is None or length <= window
    if softcap is None and short:
        mixed = F.scaled_dot_product_attention(
            query[None], key[None], value[None], is_causal=True, scale=scaling, enable_gqa=group > 1
        )[0]
        return mixed.transpose(0, 1)
    place = torch.arange(length, device=query.device)
    seen = place[:, None] >= place
    if window is not None:
        seen &= place[:, None] - place < window
    scores = query @ key.repeat_interleave(group, 0).transpose(1, 2) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return (scores @ value.repeat_interleave(group, 0)).transpose(0, 1)


AttentionInterface.register("oneloop_slots", slot_attention)
