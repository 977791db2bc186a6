"""Transformer layers whose result for a word does not depend on what its batch is padded with.

b words   N, M tokens   d width

Pre-norm, ReLU, no dropout: the law that is trained is the law that is sampled.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """Multi-head attention of tokens [b, N, d] over others [b, M, d]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """[b, N, d]; `mask` (bool [b, M]) says which tokens of the memory are there."""
        q = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(memory).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, mask[:, None, None, :])
        answer: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return answer


class Layer(nn.Module):
    """Self-attention, attention over a memory where there is one, and a two-layer MLP, each added."""

    def __init__(self, width: int, heads: int, memory: bool):
        super().__init__()
        self.own, self.own_norm = Attention(width, heads), nn.LayerNorm(width)
        self.other = Attention(width, heads) if memory else None
        self.other_norm = nn.LayerNorm(width) if memory else None
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None, known: Tensor | None) -> Tensor:
        """[b, N, d] of tokens `x` [b, N, d] that are there where `mask` [b, N] is true; `memory` [b, M, d]
        where `known` [b, M] is."""
        normal = self.own_norm(x)
        x = x + self.own(normal, normal, mask)
        if self.other is not None and self.other_norm is not None:
            assert memory is not None and known is not None
            x = x + self.other(self.other_norm(x), memory, known)
        added: Tensor = x + self.mlp(x)
        return added


class Layers(nn.Module):
    """`count` layers and a last normalisation; with `memory` they are a decoder, else an encoder."""

    def __init__(self, width: int, heads: int, count: int, memory: bool = False):
        super().__init__()
        self.layers = nn.ModuleList([Layer(width, heads, memory) for _ in range(count)])
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """[b, N, d], as `Layer`; 0 where `mask` is false."""
        for layer in self.layers:
            x = layer(x, mask, memory, known)
        ended: Tensor = self.norm(x) * mask[..., None]
        return ended


def places(count: int, width: int, device: torch.device) -> Tensor:
    """[count, width], sines and cosines of places 0..count-1, in turns."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


def places_of_map(height: int, wide: int, width: int, device: torch.device) -> Tensor:
    """[width, height, wide]: the first half of the channels codes the column, the second the row."""
    half = width // 2
    columns = places(wide, half, device).T[:, None, :].expand(-1, height, -1)
    rows = places(height, width - half, device).T[:, :, None].expand(-1, -1, wide)
    return torch.cat([columns, rows])
