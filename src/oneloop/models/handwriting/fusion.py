"""What is written, and the hand it is written in, as the context of a denoiser.

    b words   T characters   s size of a glyph   N tokens of style   d width

    E = sqrt(d) ResNet(glyph) + place           of each character by itself
    h = Decoder(E, memory = spatial style)      context = Decoder(h, memory = high-frequency style)

The two decoders in turn are what One-DM's code does (arXiv 2409.04004); its poster adds the two memories in
one decoder. Masks are ours: a word's context is the same alone or in a batch with longer words.
"""

import math

import torch
from torch import Tensor, nn

from oneloop.models.handwriting.layers import Layers, places
from oneloop.models.handwriting.residual import ResidualTrunk
from oneloop.models.handwriting.style_encoder import StyleFeatures


class GlyphEncoder(nn.Module):
    """Pictures of characters to tokens, each by itself."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        channels = (max(width // 8, 1), max(width // 4, 1), max(width // 2, 1), width)
        self.trunk = ResidualTrunk(channels, blocks, 1)
        self.width = width

    def forward(self, glyphs: Tensor, mask: Tensor) -> Tensor:
        """[b, T, d] of glyphs [b, T, s, s] with paper 1; 0 where `mask` (bool [b, T]) is false."""
        flat = 1 - glyphs.flatten(0, 1)[:, None]
        drawn, _ = self.trunk(flat, torch.full((len(flat),), flat.shape[-1], device=flat.device))
        tokens = drawn.mean((2, 3)).unflatten(0, glyphs.shape[:2])
        x = tokens * math.sqrt(self.width) + places(glyphs.shape[1], self.width, glyphs.device)
        written: Tensor = x * mask[..., None]
        return written


class Fusion(nn.Module):
    """Two decoders over characters, one after the other, each with a memory of its own."""

    def __init__(self, width: int, heads: int, layers: int, blocks: int, high_frequency: bool):
        super().__init__()
        self.content = GlyphEncoder(width, blocks)
        self.low = Layers(width, heads, layers, memory=True)
        self.high = Layers(width, heads, layers, memory=True) if high_frequency else None

    def forward(self, glyphs: Tensor, mask: Tensor, style: StyleFeatures) -> Tensor:
        """Context [b, T, d]; 0 where `mask` (bool [b, T]) is false."""
        x = self.content(glyphs, mask)
        x = self.low(x, mask, style.spatial, style.mask)
        if self.high is not None:
            x = self.high(x, mask, style.high, style.mask)
        context: Tensor = x
        return context
