"""A frozen teacher whose codes a tokenizer learns to predict first: MaskGIT's VQGAN, or one of its layout.

model.safetensors    encoder.*  quantize.embedding.weight  decoder.*

encode: images [b, C, H, W] in [0, 1] -> int64 [b, grid, grid], the nearest code of each place
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.pixel_decoder import PixelDecoder, ResidualConvolutions
from oneloop.models.image_tokenizer.released import pixel_sizes
from oneloop.models.image_tokenizer.tokenizer import WEIGHTS, fit


class Down(nn.Module):
    """Residual blocks of one resolution, and what halves the size after them."""

    def __init__(self, before: int, after: int, blocks: int, halves: bool):
        super().__init__()
        widths = [before, *[after] * (blocks - 1)]
        self.block = nn.ModuleList(ResidualConvolutions(width, after) for width in widths)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        """[b, after, h/2, w/2], or the same size, of [b, before, h, w]."""
        for block in self.block:
            x = block(x)
        return F.avg_pool2d(x, 2) if self.halves else x


class PixelEncoder(nn.Module):
    """Images [b, C, H, W] to vectors [b, proxy_dims, grid, grid]."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        widths = [config.pixel_channels * multiple for multiple in config.pixel_multiples]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(config.channels, config.pixel_channels, 3, padding="same", bias=False)
        self.down = nn.ModuleList(
            Down(before, after, config.pixel_blocks, halves=level < last)
            for level, (before, after) in enumerate(
                zip([config.pixel_channels, *widths[:-1]], widths, strict=True)
            )
        )
        self.mid = nn.ModuleList(
            ResidualConvolutions(widths[-1], widths[-1]) for _ in range(config.pixel_blocks)
        )
        self.norm_out = nn.GroupNorm(32, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], config.proxy_dims, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The vectors."""
        x = self.conv_in(images)
        for block in [*self.down, *self.mid]:
            x = block(x)
        vectors: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return vectors


class Teacher(nn.Module):
    """The frozen networks. `config` has the sizes."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.encoder, self.decoder = PixelEncoder(config), PixelDecoder(config)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config.proxy_codes, config.proxy_dims)})

    @property
    def codebook(self) -> Tensor:
        """[proxy_codes, proxy_dims]."""
        weight = self.quantize["embedding"].weight
        assert isinstance(weight, Tensor)
        return weight

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """int64 [b, grid, grid], the nearest code of each place."""
        vectors = self.encoder(images).permute(0, 2, 3, 1)
        distance = self.codebook.square().sum(1) - 2 * vectors @ self.codebook.T
        nearest: Tensor = distance.argmin(-1)
        return nearest


def open_teacher(folder: Path | str) -> tuple[Teacher, dict[str, object]]:
    """(the teacher in `folder`, on the CPU and frozen; its sizes by their names in `TokenizerConfig`).

    Raises ValueError for weights that cannot be read or are no teacher's.
    """
    where = Path(folder) / WEIGHTS
    try:
        state = load_file(where)
    except Exception as error:  # safetensors has an error of its own for files that are none
        raise ValueError(f"cannot read the teacher {where}: {error}") from None
    try:
        sizes = pixel_sizes(state, "quantize.", "decoder.")
        channels = int(state["encoder.conv_in.weight"].shape[1])
    except (KeyError, IndexError) as error:
        raise ValueError(f"{where} holds no teacher: it lacks {error}") from None
    patch = 2 ** (len(sizes["pixel_multiples"]) - 1)
    config = TokenizerConfig(predicts="codes", channels=channels, patch=patch, image_size=patch, **sizes)
    teacher = Teacher(config).requires_grad_(False).eval()
    fit(teacher, state, str(where))
    return teacher, {"predicts": "codes", "channels": channels, "patch": patch, **sizes}
