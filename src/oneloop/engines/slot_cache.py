"""Keys and values of all live rows, and the attention that reads them.

One forward is one packed sequence [1, N]: a token for each of the R live rows, then whole new sequences.
    decode:   row r attends to positions 0..length[r] of its slot, all rows in one batched product;
    prefill:  each new sequence attends to itself, causally, and is written into its slot.
Models reach it through two public extension points: `AttentionInterface` names the function, and keyword
arguments of `model(...)` are passed down to it (transformers' own paged attention does the same). Masks are
made here, once a step and window.
Not here: which request sits in which slot (slots.py); chunked, linear or sink attention (refused)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

BUCKET = 16  # widths are multiples of this, so that few shapes occur

# S slots, R live rows, N packed tokens, H query heads, K key heads, D head size, C capacity, W width seen


def bucket(length: int) -> int:
    """The smallest multiple of 16 that is at least `length`."""
    return -(-length // BUCKET) * BUCKET


class SlotCache:
    """For each layer, keys [S, K, C, D] and values [S, K, C, Dv], made when first written, zero at first."""

    def __init__(self, slots: int, capacity: int, dtype: torch.dtype) -> None:
        self.slots, self.capacity, self.dtype = slots, bucket(capacity), dtype
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, key: Tensor, value: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Store key [K, N, D] and value [K, N, Dv] at the places of this step; gives the layer's tensors."""
        if layer not in self._layers:
            self._layers[layer] = tuple(
                new.new_zeros(self.slots, new.shape[0], self.capacity, new.shape[2], dtype=self.dtype)
                for new in (key, value)
            )  # type: ignore[assignment]
        places = step.places(key.shape[0])
        for stored, new in zip(self._layers[layer], (key, value), strict=True):
            flat = new.transpose(0, 1).reshape(-1, new.shape[2]).to(stored.dtype)
            stored.view(-1, new.shape[2]).index_copy_(0, places, flat)
        return self._layers[layer]

    def copy(self, sources: list[int], targets: list[int], length: int) -> None:
        """Copy the first `length` positions of slots `sources` (or of the only one) into slots `targets`."""
        for stored in self._tensors():
            stored[targets, :, :length] = stored[sources, :, :length]

    def read(self, slot: int, length: int) -> list[Tensor]:
        """A copy of the first `length` positions of a slot, for `paste`."""
        return [stored[slot, :, :length].clone() for stored in self._tensors()]

    def paste(self, piece: list[Tensor], targets: list[int]) -> None:
        """Put what `read` gave into the slots `targets`."""
        for stored, part in zip(self._tensors(), piece, strict=True):
            stored[targets, :, : part.shape[1]] = part

    def widen(self, capacity: int) -> None:
        """Make room for at least `capacity` positions; what is stored stays."""
        self.capacity = bucket(capacity)
        for layer, pair in self._layers.items():
            self._layers[layer] = tuple(_widened(stored, self.capacity) for stored in pair)  # type: ignore[assignment]

    def _tensors(self) -> list[Tensor]:
        return [stored for pair in self._layers.values() for stored in pair]


def _widened(stored: Tensor, capacity: int) -> Tensor:
    slots, heads, old, size = stored.shape
    wide = stored.new_zeros(slots, heads, capacity, size)
    wide[:, :, :old] = stored
    return wide


@dataclass
class Step:
    """Where the tokens of one forward belong."""

    cache: SlotCache
    slot: Tensor
    """[N] int64: the slot of each token; the first `rows` are 0..R-1."""
    position: Tensor
    """[N] int64: its position in that slot."""
    rows: int
    """R: how many single-token queries come first."""
    width: int
    """W: positions the live rows look at, at least the longest row's length."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """[start, end) of each new sequence in the packed tokens."""
    _places: dict[int, Tensor] = field(default_factory=dict)
    _biases: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)

    def places(self, heads: int) -> Tensor:
        """[N * K]: where each token's key for each of K heads lies in a layer's tensor seen as rows."""
        if heads not in self._places:
            first = self.slot[:, None] * heads + torch.arange(heads, device=self.slot.device)
            self._places[heads] = (first * self.cache.capacity + self.position[:, None]).view(-1)
        return self._places[heads]

    def bias(self, heads: int, queries: int, window: int | None) -> Tensor:
        """[R * K, queries, W] fp32: 0 where a row may look, -inf beyond its length or behind its window."""
        if (heads, queries, window) not in self._biases:
            places = torch.arange(self.width, device=self.position.device)
            now = self.position[: self.rows, None]
            hidden = places > now
            if window is not None:
                hidden |= places <= now - window
            bias = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))
            shape = (self.rows, heads, queries, self.width)
            self._biases[heads, queries, window] = bias[:, None, None].expand(shape).reshape(-1, *shape[2:])
        return self._biases[heads, queries, window]


def slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    slot_step: Step | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed step: query [1, H, N, D], key and value [1, K, N, D] -> [1, N, H, Dv].

    Raises ValueError when the model has attention sinks, or has not passed `slot_step` down.
    """
    if slot_step is None or others.get("s_aux") is not None:
        missing = "does not pass keyword arguments down" if slot_step is None else "uses attention sinks"
        raise ValueError(
            f"engine: {type(module).__name__} {missing}, so the slot engine cannot run this model"
        )
    keys, values = slot_step.cache.write(module.layer_idx, key[0], value[0], slot_step)  # type: ignore[arg-type]
    rows, width = slot_step.rows, slot_step.width
    pieces = []
    if rows:
        near = (keys[:rows, :, :width], values[:rows, :, :width])
        pieces.append(_decode(query[0, :, :rows], *near, slot_step, scaling, sliding_window, softcap))
    for start, end in slot_step.spans:
        q, k, v = (part[0, :, start:end] for part in (query, key, value))
        pieces.append(_prefill(q, k, v, scaling, sliding_window, softcap))
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces))[None], None


def _decode(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    step: Step,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Single-token queries [H, R, D] on key [R, K, W, D], value [R, K, W, Dv] -> [R, H, Dv]."""
    rows, heads, width, _ = key.shape
    queries = query.shape[0] // heads
    packed = query.transpose(0, 1).reshape(rows * heads, queries, -1).to(key.dtype)
    turned = key.reshape(rows * heads, width, -1).transpose(1, 2)
    bias = step.bias(heads, queries, window).to(key.dtype)
    if softcap is None:
        scores = torch.baddbmm(bias, packed, turned, alpha=scaling)
    else:
        scores = torch.tanh(torch.bmm(packed, turned) * (scaling / softcap)) * softcap + bias
    mixed = torch.bmm(scores.softmax(dim=-1), value.reshape(rows * heads, width, -1))
    return mixed.view(rows, heads * queries, -1).to(query.dtype)


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
