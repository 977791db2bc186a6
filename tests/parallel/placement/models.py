"""Small models with known optima."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Megatron(nn.Module):
    """Two products with a ReLU between; `x` is a parameter so that its gradient is asked for."""

    def __init__(self, tokens: int = 64, hidden: int = 64, inner: int = 256):
        super().__init__()
        self.x = nn.Parameter(torch.randn(tokens, hidden))
        self.up = nn.Parameter(torch.randn(hidden, inner) / 8)
        self.down = nn.Parameter(torch.randn(inner, hidden) / 16)

    def forward(self, upstream: torch.Tensor) -> torch.Tensor:
        return (torch.relu(self.x @ self.up) @ self.down * upstream).sum()


class Block(nn.Module):
    """Norm, two products, residual."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Gated(nn.Module):
    """A product whose columns pack a gate and a projection, and a product back; the loss is of squares."""

    def __init__(self, width: int = 8, inner: int = 16):
        super().__init__()
        self.both = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.gated(x) ** 2).sum()

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.both(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Reader(nn.Module):
    """A token model: embedding, blocks, tied or free head, mean cross-entropy with ignored labels."""

    def __init__(
        self,
        *,
        vocabulary: int = 32,
        width: int = 16,
        layers: int = 1,
        tied: bool = False,
        gated: bool = False,
    ):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(layers)])
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.gate = Gated(width, 2 * width) if gated else None
        self.unused = nn.Parameter(torch.zeros(4))
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        x = x if self.gate is None else x + self.gate.gated(x)
        return F.cross_entropy(self.head(x).flatten(0, 1), labels.flatten(), ignore_index=-100)


def batch(*, rows: int = 4, columns: int = 8, vocabulary: int = 32) -> dict[str, Any]:
    """Tokens and labels, the ignored labels unevenly over the rows."""
    drawn = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, vocabulary, (rows, columns), generator=drawn)
    labels = torch.randint(0, vocabulary, (rows, columns), generator=drawn)
    labels[0, :5] = -100
    return {"tokens": tokens, "labels": labels}
