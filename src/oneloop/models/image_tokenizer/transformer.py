"""Pre-norm transformer blocks with full attention, whose weights are named as in TiTok's checkpoints.

b images   s positions   D width
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FullAttention(nn.Module):
    """Full self-attention of [b, s, D]; positions that `there` marks False are seen by nobody."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        """[b, s, D] of `x` [b, s, D]; `there` bool [b, s], None: all positions are seen."""
        b, s, width = x.shape
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(b, s, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mask = None if there is None else there[:, None, None, :]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out_proj(seen.transpose(1, 2).reshape(b, s, width))
        return out


class Block(nn.Module):
    """x + attention(LN x), then x + MLP(LN x), GELU, four times the width, no dropout."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), FullAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        layers = [
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", nn.GELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """[b, s, D] of `x` [b, s, D]."""
        x = x + self.attn(self.ln_1(x), there)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


def started(module: nn.Module) -> None:
    """Initial weights: matrices from a normal law of deviation fan_in^-1/2, cut at twice that; biases 0."""
    # TiTok starts at a deviation of 0.02, which suits widths of hundreds: at width 64 it leaves tokens that
    # say nothing of the image, and a decoder that does not listen, for hundreds of steps
    if isinstance(module, nn.Linear | nn.Conv2d):
        std = module.weight[0].numel() ** -0.5
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def embedding(rows: int, width: int) -> nn.Parameter:
    """[rows, width], learned; starts at a normal law of deviation width^-1/2."""
    return nn.Parameter(width**-0.5 * torch.randn(rows, width))
