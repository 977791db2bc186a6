"""Keys and values of all live rows, and where the tokens of one forward go.

One forward is one packed sequence [1, N]: a token for each of the R live rows, then whole new sequences.
Not here: the attention that reads it (attention.py), and which request sits in which slot (slots.py)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

BUCKET = 16  # widths are multiples of this, so that few shapes occur

# S slots, R live rows, W positions a slot, N packed tokens, K key heads, D head size


def bucket(length: int) -> int:
    """The smallest multiple of 16 that is at least `length`."""
    return -(-length // BUCKET) * BUCKET


class SlotCache:
    """For each layer, keys [S, K, W, D] and values [S, K, W, Dv], made when first written, zero at first.

    Slots lie densely in memory, because products over a matrix with gaps run at a third of the speed on a
    CPU: when the width W changes all live slots are laid out anew, into memory that the tensor before left.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.slots, self.width = dtype, 0, 0
        self._layers: dict[int, tuple[_Slots, _Slots]] = {}
        self._spare: Tensor | None = None

    def fit(self, slots: int, width: int, live: int) -> None:
        """Have `slots` slots of `width` positions; what the first `live` hold stays, as far as it fits."""
        for stored in self._tensors():
            self._spare = stored.fit((slots, width), live, self._spare)
        self.slots, self.width = slots, width

    def write(self, layer: int, key: Tensor, value: Tensor, step: SlotStep) -> tuple[Tensor, Tensor]:
        """Store key [N, K, D] and value [N, K, Dv] at the places of this step; gives the layer's tensors."""
        if layer not in self._layers:
            shape = (self.slots, self.width)
            self._layers[layer] = (_Slots(key, shape, self.dtype), _Slots(value, shape, self.dtype))
        places = step.places(key.shape[1])
        keys, values = self._layers[layer]
        keys.write(key, places)
        values.write(value, places)
        return self.stored(layer)

    def stored(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys [S, K, W, D] and values [S, K, W, Dv] of a layer once written to; `fit` makes new tensors."""
        keys, values = self._layers[layer]
        return keys.content, values.content

    def copy(self, sources: list[int], targets: list[int], length: int) -> None:
        """Copy the first `length` positions of slots `sources` (or of the only one) into slots `targets`."""
        for stored in self._tensors():
            stored.content[targets, :, :length] = stored.content[sources, :, :length]

    def read(self, slot: int, length: int) -> list[Tensor]:
        """A copy of the first `length` positions of a slot, for `paste`."""
        return [stored.content[slot, :, :length].clone() for stored in self._tensors()]

    def paste(self, piece: list[Tensor], targets: list[int]) -> None:
        """Put what `read` gave into the slots `targets`."""
        for stored, part in zip(self._tensors(), piece, strict=True):
            stored.content[targets, :, : part.shape[1]] = part

    def _tensors(self) -> list[_Slots]:
        return [stored for pair in self._layers.values() for stored in pair]


class _Slots:
    """The keys, or the values, of one layer: `content` [S, K, W, D] at the start of the memory `flat`."""

    def __init__(self, like: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.heads, self.size = like.shape[1], like.shape[2]
        self.flat = like.new_zeros(shape[0] * self.heads * shape[1] * self.size, dtype=dtype)
        self.content = self._laid_out(self.flat, shape)

    def write(self, new: Tensor, places: Tensor) -> None:
        flat = new.reshape(-1, self.size).to(self.flat.dtype)
        self.content.view(-1, self.size).index_copy_(0, places, flat)

    def fit(self, shape: tuple[int, int], live: int, spare: Tensor | None) -> Tensor | None:
        """Change (slots, width), moving the first `live` slots if need be; gives the memory now spare."""
        needed = shape[0] * self.heads * shape[1] * self.size
        width = min(shape[1], self.content.shape[2])
        if shape[1] == self.content.shape[2] and needed <= self.flat.numel():
            self.content = self._laid_out(self.flat, shape)
            return spare
        if spare is None or spare.numel() < needed:
            spare = self.flat.new_zeros(needed * 3 // 2)  # room to grow; zero, because 0 * NaN is NaN
        content = self._laid_out(spare, shape)
        content[:live, :, :width] = self.content[:live, :, :width]
        self.flat, spare, self.content = spare, self.flat, content
        return spare

    def _laid_out(self, flat: Tensor, shape: tuple[int, int]) -> Tensor:
        slots, width = shape
        return flat[: slots * self.heads * width * self.size].view(slots, self.heads, width, self.size)


@dataclass
class SlotStep:
    """Where the tokens of one forward belong."""

    cache: SlotCache
    slot: Tensor
    """[N] int64: the slot of each token; the first `rows` are 0..R-1."""
    position: Tensor
    """[N] int64: the position of each token in its slot."""
    rows: int
    """R: how many single-token queries come first."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """[start, end) of each new sequence in the packed tokens."""
    turned: Tensor | None = None
    """[A, 1, N] or [1, N] int64: positions the model sees where they are not the places in the slots."""
    inputs: dict[str, Tensor] = field(default_factory=dict)
    """Keyword arguments of the model for the pictures of new sequences."""
    _places: dict[int, Tensor] = field(default_factory=dict)
    _hidden: dict[int | None, Tensor] = field(default_factory=dict)

    def places(self, heads: int) -> Tensor:
        """[N * K]: where each token's key for each of K heads lies in a layer's tensor seen as rows."""
        if heads not in self._places:
            first = self.slot[:, None] * heads + torch.arange(heads, device=self.slot.device)
            self._places[heads] = (first * self.cache.width + self.position[:, None]).view(-1)
        return self._places[heads]

    def hidden(self, window: int | None) -> Tensor:
        """[R, 1, 1, W]: 0 where a row may look, -inf beyond its length or behind its window."""
        if window not in self._hidden:
            places = torch.arange(self.cache.width, device=self.position.device)
            now = self.position[: self.rows, None]
            outside = places > now
            if window is not None:
                outside |= places <= now - window
            bias = torch.zeros(outside.shape, dtype=self.cache.dtype, device=outside.device)
            self._hidden[window] = bias.masked_fill_(outside, float("-inf"))[:, None, None]
        return self._hidden[window]
