"""A ResNet of basic blocks whose result does not depend on what a picture is padded with, or batched with.

    b pictures   C channels   H, W height and width   w valid width of each, the rest is padding

Columns from `width` on are set to 0 after every layer, as if the picture ended there: a convolution then sees
what its own zero padding would show it. Normalisation is over the channels of a place (layer norm in place of
the batch norm of ResNet), since statistics over places or pictures would see the padding and the batch.
"""

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer normalisation of the channels [C] at each place of maps [b, C, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        scale = (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()
        return centred * scale * self.weight[:, None, None] + self.bias[:, None, None]


def keep_width(x: Tensor, width: Tensor) -> Tensor:
    """`x` [b, C, H, W] with 0 in the columns from `width` (int64 [b]) on."""
    inside = torch.arange(x.shape[-1], device=x.device) < width[:, None]
    return x * inside[:, None, None, :]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the first has the stride, each its own dilation."""

    def __init__(self, inputs: int, channels: int, stride: int = 1, dilation: tuple[int, int] = (1, 1)):
        super().__init__()
        self.stride = stride
        first, second = dilation
        self.first = nn.Conv2d(inputs, channels, 3, stride, padding=first, dilation=first, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=second, dilation=second, bias=False)
        self.norms = nn.ModuleList([ChannelNorm(channels), ChannelNorm(channels)])
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), ChannelNorm(channels)
            )

    def forward(self, x: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """(maps [b, channels, H / stride, W / stride], their valid widths [b])."""
        shorter = halved(width, self.stride)
        y = keep_width(self.norms[0](self.first(x)).relu(), shorter)
        y = self.norms[1](self.second(y))
        return keep_width((y + self.shortcut(x)).relu(), shorter), shorter


class ResidualTrunk(nn.Module):
    """The trunk of a ResNet for pictures of one channel: a stem, then stages of basic blocks.

    channels: of each stage; the first stage keeps the size, the others halve it. blocks: of a stage.
    stem_stride: 1 (3x3 convolution), 2 (3x3, stride 2) or 4 (7x7, stride 2, then pooling, as in ResNet-18).
    dilated: channels of a last stage of stride 1 whose convolutions but the first have dilation 2; 0: none.
    """

    def __init__(self, channels: tuple[int, ...], blocks: int, stem_stride: int, dilated: int = 0):
        super().__init__()
        self.stem_stride = stem_stride
        size = 7 if stem_stride == 4 else 3
        self.stem = nn.Conv2d(1, channels[0], size, min(stem_stride, 2), padding=size // 2, bias=False)
        self.norm = ChannelNorm(channels[0])
        stages, before = [], channels[0]
        for number, wide in enumerate(channels):
            for block in range(blocks):
                stages.append(BasicBlock(before, wide, 2 if number and not block else 1))
                before = wide
        for block in range(blocks if dilated else 0):
            stages.append(BasicBlock(before, dilated, dilation=(2 if block else 1, 2)))
            before = dilated
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """(maps [b, C, h, w], their valid widths [b]) of pictures [b, 1, H, W] of valid widths [b]."""
        x = self.stem(keep_width(x, width))
        width = halved(width, min(self.stem_stride, 2))
        x = keep_width(self.norm(x).relu(), width)
        if self.stem_stride == 4:
            # behind an even width a window still sees the last column that is there
            width = halved(width, 2)
            x = keep_width(nn.functional.max_pool2d(x, 3, 2, 1), width)
        for stage in self.stages:
            x, width = stage(x, width)
        return x, width


def halved(width: Tensor, stride: int) -> Tensor:
    """Widths after a layer of this stride: width / stride, rounded up."""
    return (width + stride - 1) // stride
