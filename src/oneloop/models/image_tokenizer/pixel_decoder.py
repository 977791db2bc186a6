"""The pixel decoder of MaskGIT's VQGAN: a grid of code vectors to an image, by residual convolutions.

Weights are named as in the checkpoints that were released; open-muse and TiTok have the same network.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneloop.models.image_tokenizer.config import TokenizerConfig


class ResidualConvolutions(nn.Module):
    """Two 3x3 convolutions, each behind a group norm and SiLU, added to their input."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(32, before, eps=1e-6)
        self.conv1 = nn.Conv2d(before, after, 3, padding="same", bias=False)
        self.norm2 = nn.GroupNorm(32, after, eps=1e-6)
        self.conv2 = nn.Conv2d(after, after, 3, padding="same", bias=False)
        if before != after:
            self.nin_shortcut = nn.Conv2d(after, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[b, after, h, w] of [b, before, h, w]."""
        out = self.conv1(F.silu(self.norm1(x)))
        out = self.conv2(F.silu(self.norm2(out)))
        # where the width changes, the shortcut goes round the output, not the input: so were the weights
        # trained that were released
        added: Tensor = out + (self.nin_shortcut(out) if hasattr(self, "nin_shortcut") else x)
        return added


class Up(nn.Module):
    """Residual blocks of one resolution, and what doubles the size after them."""

    def __init__(self, before: int, after: int, blocks: int, doubles: bool):
        super().__init__()
        widths = [before, *[after] * (blocks - 1)]
        self.block = nn.ModuleList(ResidualConvolutions(width, after) for width in widths)
        if doubles:
            self.upsample_conv = nn.Conv2d(after, after, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        """[b, after, 2h, 2w], or the same size, of [b, before, h, w]."""
        for block in self.block:
            x = block(x)
        if hasattr(self, "upsample_conv"):
            doubled: Tensor = self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            return doubled
        return x


class PixelDecoder(nn.Module):
    """Vectors [b, proxy_dims, grid, grid] to images [b, C, H, W], not cut to [0, 1]."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        widths = [config.pixel_channels * multiple for multiple in config.pixel_multiples]
        before = [*widths[1:], widths[-1]]
        self.conv_in = nn.Conv2d(config.proxy_dims, widths[-1], 3, padding="same")
        self.mid = nn.ModuleList(
            ResidualConvolutions(widths[-1], widths[-1]) for _ in range(config.pixel_blocks)
        )
        self.up = nn.ModuleList(
            Up(before[level], widths[level], config.pixel_blocks, doubles=level > 0)
            for level in range(len(widths))
        )
        self.norm_out = nn.GroupNorm(32, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], config.channels, 3, padding="same")

    def forward(self, vectors: Tensor) -> Tensor:
        """The images."""
        x = self.conv_in(vectors)
        for block in self.mid:
            x = block(x)
        for level in reversed(self.up):
            x = level(x)
        image: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return image


def expected_vectors(logits: Tensor, codebook: Tensor) -> Tensor:
    """[b, d, h, w], the mean code under the probabilities of `logits` [b, K, h, w]; `codebook` [K, d]."""
    return torch.einsum("bkhw,kd->bdhw", logits.softmax(1), codebook)
