"""A convolution whose channels and kernel are chosen."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oneloop.models.supernet.cutting import Cutter
from oneloop.models.supernet.elastic import Elastic, Kept


class ElasticConv2d(nn.Conv2d, Elastic):
    """Convolution with an odd square kernel and the padding that keeps the size at stride 1.

    The first channels are kept, and a small kernel is the centre of the large one. A `depthwise` layer has
    a kernel for each channel, so that its outputs follow its inputs. Dilation and groups are left out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        bias: bool = True,
        inputs: Kept | None = None,
        outputs: Kept | None = None,
        kernel: str | None = None,
        depthwise: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ):
        """`inputs`, `outputs`: choices of channels; `kernel`: name of the choice of kernel sizes.

        `device`, `dtype`: as nn.Conv2d's. Raises ValueError for an even kernel, and where a depthwise layer
        would have other outputs than inputs.
        """
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: got {kernel_size}, must be odd, so that it has a centre")
        if depthwise and (in_channels, inputs) != (out_channels, outputs):
            raise ValueError(
                f"a depthwise layer has as many outputs as inputs: got {in_channels} ({inputs}) inputs "
                f"and {out_channels} ({outputs}) outputs"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=in_channels if depthwise else 1,
            bias=bias,
            device=device,
            dtype=dtype,
        )
        self.inputs, self.outputs, self.depthwise = inputs, outputs, depthwise
        self.kernel = None if kernel is None else Kept(kernel)

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """Channels and kernel, those that are elastic."""
        whole = {"inputs": self.in_channels, "outputs": self.out_channels, "kernel": self.kernel_size[0]}
        for name, most in whole.items():
            kept: Kept | None = getattr(self, name)
            if kept is not None:
                yield kept, most

    def forward(self, input: Tensor) -> Tensor:
        """[B, outputs kept, H, W] of [B, inputs kept, H, W]."""
        weight, bias = self._present_weights()
        rings = self.mask_of(self.kernel)
        if rings is not None:
            weight = weight * _square(rings).to(weight.dtype)
        groups = weight.shape[0] if self.depthwise else 1
        output = F.conv2d(input, weight, bias, self.stride, weight.shape[-1] // 2, 1, groups)
        mask = self.mask_of(self.outputs)
        return output if mask is None else output * mask[:, None, None].to(output.dtype)

    def _present_weights(self) -> tuple[Tensor, Tensor | None]:
        rows = self.size(self.outputs, self.out_channels)
        columns = 1 if self.depthwise else self.size(self.inputs, self.in_channels)
        size = self.size(self.kernel, self.kernel_size[0])
        if size % 2 == 0:
            raise ValueError(f"architecture: {self.kernel}: got a kernel of {size}, must be odd")
        edge = (self.kernel_size[0] - size) // 2
        centre = slice(edge, edge + size)
        weight = self.weight[:rows, :columns, centre, centre]
        return weight, None if self.bias is None else self.bias[:rows]

    def cut(self, cutter: Cutter) -> nn.Conv2d:
        """An `nn.Conv2d` of the channels and the kernel kept."""
        weight, bias = self._present_weights()
        outputs, size = weight.shape[0], weight.shape[-1]
        groups = outputs if self.depthwise else 1
        stride: Any = self.stride
        with torch.device("meta"):
            made = nn.Conv2d(
                weight.shape[1] * groups, outputs, size, stride, size // 2, 1, groups, bias is not None
            )
        made.weight = cutter.weight(self.weight, weight)  # type: ignore[assignment]
        if bias is not None and self.bias is not None:
            made.bias = cutter.weight(self.bias, bias)  # type: ignore[assignment]
        return made


def _square(mask: Tensor) -> Tensor:
    """Weights [k, k] of a kernel's places: size 2 r + 1 keeps the rings up to distance r of the centre."""
    rings = mask[::2]
    distance = (torch.arange(len(mask), device=mask.device) - len(mask) // 2).abs()
    return rings[torch.maximum(distance[:, None], distance[None, :])]
