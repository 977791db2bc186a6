"""What a hand looks like, from one picture of a word: two branches, one for the picture, one for its edges.

    b pictures   N tokens, one for each stride x stride square   d width   p width of an embedding

    spatial   ResNet and transformer of the picture; each token is scaled by a gate sigmoid(w F + c)
    high      the same, with weights of its own, of the Laplacian image (laplacian.py); no gate

One-DM (arXiv 2409.04004), the code's form. A gate is no mask: a token whose gate is 0 still takes its share
of attention.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from oneloop.models.handwriting.layers import Layers, places_of_map
from oneloop.models.handwriting.residual import ResidualTrunk


class StyleFeatures(NamedTuple):
    """What a style encoder says of b pictures."""

    spatial: Tensor
    """[b, N, d], gated."""
    high: Tensor
    """[b, N, d]; [b, 0, d] without this branch."""
    gate: Tensor
    """[b, N, 1]."""
    z_spatial: Tensor
    """[b, p], of length 1."""
    z_high: Tensor
    """[b, p], of length 1; [b, 0] without this branch."""
    mask: Tensor
    """bool [b, N], tokens that are no padding."""


class Branch(nn.Module):
    """Tokens of pictures, and the projection head of their mean."""

    def __init__(self, width: int, heads: int, layers: int, blocks: int, stride: int):
        super().__init__()
        channels = (max(width // 8, 1), max(width // 4, 1), max(width // 2, 1))
        self.trunk = ResidualTrunk(channels, blocks, stride // 4, dilated=width)
        self.layers = Layers(width, heads, layers)
        self.head = nn.Sequential(nn.Linear(width, 8 * width), nn.GELU(), nn.Linear(8 * width, width // 2))
        self.width = width

    def forward(self, pictures: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """(tokens [b, N, d], which of them are there, bool [b, N]), row by row of the map."""
        x, columns = self.trunk(pictures, width)
        where = places_of_map(x.shape[2], x.shape[3], self.width, x.device)
        x = x * math.sqrt(self.width / 2) + where
        there = torch.arange(x.shape[3], device=x.device) < columns[:, None]
        mask = there[:, None, :].expand(-1, x.shape[2], -1).flatten(1)
        tokens: Tensor = self.layers(x.flatten(2).transpose(1, 2), mask)
        return tokens, mask

    def embedding(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[b, p]: the mean over the tokens that are there of the head's answer, scaled to length 1."""
        there = mask[..., None].to(tokens.dtype)
        mean = (self.head(tokens) * there).sum(1) / there.sum(1)
        return normalize(mean, dim=1)


class StyleEncoder(nn.Module):
    """Two branches of width d; `stride`: pixels of a token's side, 4, 8 or 16; `high_frequency`: whether
    there is the branch of edges; `gated`: whether the spatial branch has its gate."""

    def __init__(
        self,
        width: int = 64,
        heads: int = 4,
        layers: int = 1,
        blocks: int = 1,
        stride: int = 4,
        high_frequency: bool = True,
        gated: bool = True,
    ):
        super().__init__()
        self.stride = stride
        self.low = Branch(width, heads, layers, blocks, stride)
        self.high = Branch(width, heads, layers, blocks, stride) if high_frequency else None
        self.gate = nn.Linear(width, 1) if gated else None

    def forward(self, pictures: Tensor, edges: Tensor, width: Tensor) -> StyleFeatures:
        """Of `pictures` [b, 1, H, W] in [0, 1] with paper 1, and their Laplacian images `edges`; columns from
        `width` (int64 [b]) on are padding.

        Raises ValueError for pictures without a single token.
        """
        if min(pictures.shape[-2:]) < 1 or int(width.min()) < 1:
            raise ValueError("style: a picture has no columns, so there is no token of style")
        # paper is 0 inside, so that what lies beyond an edge is paper
        spatial, mask = self.low(1 - pictures, width)
        gate = spatial.new_ones(*spatial.shape[:2], 1) if self.gate is None else self.gate(spatial).sigmoid()
        spatial = spatial * gate
        z_spatial = self.low.embedding(spatial, mask)
        if self.high is None:
            nothing = spatial[:, :0]
            return StyleFeatures(spatial, nothing, gate, z_spatial, z_spatial[:, :0], mask)
        high, _ = self.high(edges, width)
        return StyleFeatures(spatial, high, gate, z_spatial, self.high.embedding(high, mask), mask)
