"""Convolutions over pictures of words whose answer for a word does not depend on what is padded beside it.

    b pictures   C channels of the last layer   h rows that are left   T columns, half those of the picture

Ink is 1 and paper 0 inside, columns behind a word's width are 0 after every layer, and a convolution's own
padding is 0 too: alone, at the edge of a batch, or with paper behind it, a word looks the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class WordTrunk(nn.Module):
    """3 x 3 convolutions with batch norm and ReLU, each halving the height, the first the width too."""

    def __init__(self, channels: Sequence[int], height: int):
        super().__init__()
        if height % 2 ** len(channels):
            raise ValueError(
                f"height must be a multiple of {2 ** len(channels)} for {len(channels)} layers, got {height}"
            )
        self.height = height
        self.features = channels[-1] * height // 2 ** len(channels)
        sizes = zip((1, *channels[:-1]), channels, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in channels)

    def forward(self, images: Tensor, widths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(features [b, T, C h], columns of each word int64 [b]) of pictures [b, c, H, W] in [0, 1], paper 1;
        columns from `widths` (int64 [b]; None: W) on are padding. Other heights are scaled.
        """
        x, widths = inked(images, widths, self.height)
        x, columns = F.pad(x, (0, x.shape[-1] % 2)), (widths + 1) // 2
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = F.max_pool2d(norm(convolution(x)).relu(), (2, 1 if place else 2))
            x = masked(x, columns)
        return x.flatten(1, 2).transpose(1, 2), columns


def inked(images: Tensor, widths: Tensor | None, height: int) -> tuple[Tensor, Tensor]:
    """(ink [b, 1, height, W'], widths [b]) of pictures [b, c, H, W]. Raises ValueError for other shapes."""
    if images.dim() != 4 or not images.shape[-1] or not images.shape[-2]:
        raise ValueError(f"pictures of words are [b, c, H, W], got {tuple(images.shape)}")
    if widths is None:
        widths = torch.full((len(images),), images.shape[-1], device=images.device)
    ink = masked(1 - images.float().mean(1, keepdim=True), widths)
    if images.shape[-2] == height:
        return ink, widths
    factor = height / images.shape[-2]
    # paper behind the last column, so that scaling finds no edge there
    room = F.pad(ink, (0, 8))
    scaled = F.interpolate(room, scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)
    widths = (widths * factor).ceil().long().clamp(max=scaled.shape[-1])
    return masked(scaled[..., : max(1, int(widths.max()))], widths), widths


def masked(x: Tensor, columns: Tensor) -> Tensor:
    """`x` [b, ..., W] with 0 from column `columns` [b] on."""
    there = torch.arange(x.shape[-1], device=x.device) < columns[:, None]
    return x * there[:, None, None]


def save(network: nn.Module, kind: str, config: Any, folder: Path) -> None:
    """Writes `config.json`, which says `kind` and the dataclass `config`, and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_type": kind, **asdict(config)}, indent=1, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)


def read_config(folder: Path, kind: str) -> Mapping[str, Any]:
    """Options in the `config.json` of `folder`. Raises ValueError for a folder without one, or with one of
    another kind of model.
    """
    path = folder / CONFIG
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no {kind}: there is no {CONFIG} in it") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(given, dict) or given.pop("model_type", None) != kind:
        raise ValueError(f"{path} is not of a {kind}")
    return given


def load_weights(network: nn.Module, folder: Path) -> None:
    """Loads `model.safetensors` in place. Raises ValueError for a file that is missing or does not fit."""
    path = folder / WEIGHTS
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:  # safetensors raises its own class, which is no OSError
        raise ValueError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from None
