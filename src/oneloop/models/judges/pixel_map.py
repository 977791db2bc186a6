"""A differentiable copy of what an image processor does to the pixels of a pair of images.

    pixel_values[i] = (pixel[index[i]] * scale - mean[channel]) / std[channel]        where index[i] is a
    pixel

Processors of vision-language models work on arrays or 8-bit pictures and cut the graph. But once an image has
the size they want, all they do is to normalise each pixel and to lay pixels out (patches, tiles, repeats,
padding). The layout is found by giving the processor pictures whose pixels encode their own number in base
255; the rest is read from its settings, and the result is compared with the processor's own on a random pair
before it is used. A processor that resizes, mixes or crops pixels at that size fails the comparison and is
refused.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

BASE = 255
PASSES = 3
TOLERANCE = 1e-5


class NotDifferentiable(ValueError):
    """The preprocessing of a judge model cannot be made differentiable; the message says why."""


class PixelMap(nn.Module):
    """`pixel_values` of pairs of images [b, 2, 3, size, size] in [0, 1]."""

    index: Tensor
    gain: Tensor
    offset: Tensor

    def __init__(self, process: Callable[..., Any], settings: Any, size: int):
        """`process(pair, **options)` gives the pixel_values of two uint8 pictures [size, size, 3]; `settings`
        is the image processor. Raises NotDifferentiable when it does more than normalise and lay out pixels.
        """
        super().__init__()
        self.size = size
        layout = learned_layout(process, size)
        mean, std = (torch.tensor(getattr(settings, name)) for name in ("image_mean", "image_std"))
        channel = (layout - 1).clamp(min=0) // size**2 % 3
        scale = 255 * float(settings.rescale_factor)
        there = layout > 0
        self.register_buffer("index", layout, persistent=False)
        self.register_buffer("gain", torch.where(there, scale / std[channel], 0.0), persistent=False)
        self.register_buffer(
            "offset", torch.where(there, -mean[channel] / std[channel], 0.0), persistent=False
        )
        self._compare(process)

    def forward(self, pairs: Tensor) -> Tensor:
        """The processor's `pixel_values` of b pairs, concatenated along the first axis; differentiable."""
        flat = pairs.flatten(1)
        values = flat[:, (self.index - 1).clamp(min=0).flatten()].view(len(pairs), *self.index.shape)
        placed = values * self.gain + self.offset
        return placed.flatten(0, 1)

    def _compare(self, process: Callable[..., Any]) -> None:
        pair = np.random.default_rng(0).integers(0, 256, (2, self.size, self.size, 3), dtype=np.uint8)
        wanted = torch.as_tensor(np.asarray(process(list(pair)))).float()
        tensors = torch.from_numpy(pair).permute(0, 3, 1, 2)[None].float() / 255
        got = self(tensors)
        if got.shape != wanted.shape or float((got - wanted).abs().max()) > TOLERANCE:
            raise NotDifferentiable(
                f"judge preprocessing is not differentiable: at {self.size} pixels the processor does "
                "more than lay "
                "out and normalise pixels (it resizes or mixes them); set image_size to a size it leaves "
                "alone"
            )


def learned_layout(process: Callable[..., Any], size: int) -> Tensor:
    """int64, of the shape of a pair's pixel_values: 1 + the index of the pixel at each place; 0: padding."""
    number = np.arange(1, 2 * 3 * size * size + 1).reshape(2, 3, size, size).transpose(0, 2, 3, 1)
    total: Tensor | None = None
    for place in range(PASSES):
        digits = list((number // BASE**place % BASE).astype(np.uint8))
        shown = torch.as_tensor(np.asarray(process(digits, do_rescale=False, do_normalize=False)))
        digit = shown.double().round().long().clamp(0, BASE) * BASE**place
        total = digit if total is None else total + digit
    assert total is not None
    return total.clamp(max=2 * 3 * size * size)


def resized(images: Tensor, size: int) -> Tensor:
    """Images [b, C, H, W] in [0, 1] resized to RGB [b, 3, size, size]: bicubic, antialiased, like Pillow;
    differentiable.
    """
    coloured = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    if coloured.shape[-2:] != (size, size):
        coloured = interpolate(coloured, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return coloured.clamp(0, 1)
