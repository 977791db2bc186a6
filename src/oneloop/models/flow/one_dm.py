"""One-DM (arXiv 2409.04004) as a flow network: a text in the hand of one reference picture.

    b latents   H, w height and width of a reference

The model predicts noise; a flow policy walks on velocities. The two are the same in other coordinates
(models/handwriting/schedule.py), so sampling with noise `ode` is DDIM, with `ddim` DDIM with an eta, and
every recipe for images applies. Data rows have a `prompt`, the text, and a `reference`, a picture [1, H, w]
in [0, 1] of the writer's hand; to learn from, `image`, a second reference `positive` and a number `writer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from oneloop.core.part import part
from oneloop.models.handwriting import schedule
from oneloop.models.handwriting.autoencoder import open_autoencoder
from oneloop.models.handwriting.config import Edges, HandwritingConfig, read_config
from oneloop.models.handwriting.model import Condition, HandwritingModel
from oneloop.models.handwriting.unrolled import diffused
from oneloop.models.seeded import Seed, seeded


@part(paper="arXiv 2409.04004")
class OneDm:
    """A handwriting model of a few sizes; `seed` fixes its initial weights, `folder` loads others.

    The paper's: height 64, letter_width 32, letters 9, hidden_size 512, layers 3, blocks 2, stride 16,
    channels [512, 512], attention first, predicts noise, and the autoencoder of Stable Diffusion 1.5.
    """

    folder: str = ""
    """Folder of a saved handwriting model; the other options are then its own. Empty: a new one."""
    height: Annotated[int, Field(ge=8)] = HandwritingConfig.height
    """Height of a word, in pixels."""
    letter_width: Annotated[int, Field(ge=4)] = HandwritingConfig.letter_width
    """Pixels of width for each character, whatever the character."""
    letters: Annotated[int, Field(ge=1)] = HandwritingConfig.letters
    """Most characters of a word that is trained; the width of an image is that for so many."""
    alphabet: str = HandwritingConfig.alphabet
    """Characters that may be written; empty: all that the font has."""
    font: str = HandwritingConfig.font
    """Font file whose pictures of characters say what to write; empty: the installed GNU Unifont."""
    glyph_size: Annotated[int, Field(ge=8, le=64)] = HandwritingConfig.glyph_size
    """Height and width of the picture of a character."""
    hidden_size: Annotated[int, Field(ge=16)] = HandwritingConfig.hidden_size
    """Width of the transformers over style and characters, a multiple of 8 and of twice `heads`."""
    heads: Annotated[int, Field(ge=1)] = HandwritingConfig.heads
    """Attention heads, of the U-Net too."""
    layers: Annotated[int, Field(ge=1, le=100)] = HandwritingConfig.layers
    """Layers of each of the four transformers."""
    blocks: Annotated[int, Field(ge=1, le=10)] = HandwritingConfig.blocks
    """Residual blocks at each resolution of the convolutional networks; 2 is ResNet-18."""
    stride: Literal[4, 8, 16] = HandwritingConfig.stride  # type: ignore[assignment]
    """Pixels to a side of a token of style."""
    edges: Edges = HandwritingConfig.edges
    """Laplacian image that the second branch of style sees: clip, abs, signed; none: there is no such
    branch."""
    gated: bool = HandwritingConfig.gated
    """Whether a gate scales the tokens of the spatial branch."""
    patch: Literal[1, 2, 4] = HandwritingConfig.patch  # type: ignore[assignment]
    """Pixels to a side of the squares that are one place of a latent; not used with an autoencoder."""
    channels: Annotated[tuple[int, ...], Field(min_length=1)] = HandwritingConfig.channels
    """Channels of each level of the U-Net, multiples of 8 and of `heads`."""
    attention: Literal["first", "last"] = HandwritingConfig.attention
    """Level of the U-Net, besides its middle, at which places look at the characters."""
    predicts: Literal["noise", "data"] = HandwritingConfig.predicts
    """What the U-Net's answer is: the noise, as in the paper, or the data, which a small network learns from
    pixels much sooner."""
    autoencoder: str = HandwritingConfig.autoencoder
    """Hub name or folder of an AutoencoderKL whose latents are denoised; empty: pixels."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.folder:
            self.config()

    def config(self) -> HandwritingConfig:
        """Sizes of the model. Raises ValueError for sizes that do not fit, or a folder without a model."""
        if self.folder:
            return read_config(Path(self.folder))
        return HandwritingConfig(
            **{each.name: getattr(self, each.name) for each in fields(HandwritingConfig)}
        )

    def build(self) -> "HandwritingNetwork":
        """The network in fp32 on the CPU. Does not change torch's global random state."""
        with seeded(self.seed):
            network = HandwritingNetwork(self.config())
        if self.folder and not next(network.parameters()).is_meta:
            network.load(Path(self.folder))
        return network


class HandwritingNetwork(nn.Module):
    """Velocities of latents [b, c, h, w] at noise levels [b], told texts and a hand."""

    def __init__(self, config: HandwritingConfig):
        super().__init__()
        self.config, self.model = config, HandwritingModel(config)
        self.autoencoder = open_autoencoder(config.autoencoder) if config.autoencoder else None
        self.picture = (1, config.height, config.width)
        height, width = config.height // config.shrink, config.width // config.shrink
        self.shape = (config.latent_channels, height, width)
        folded = 1 if config.attention == "first" else 2 ** (len(config.channels) - 1)
        self.tokens = (height // folded) * (width // folded)
        self.units = sum(config.channels) * 4
        self.decoder_maps = 4 * 128 if config.autoencoder else 0

    def noise_levels(self, steps: int) -> list[float]:
        """[steps + 1], those of DDIM's times, down to 0."""
        return schedule.noise_levels(steps)

    def time_levels(self, share: Tensor, first: int = 0) -> Tensor:
        """[a], the noise levels of times from `first` on, drawn evenly by `share` [a] in [0, 1)."""
        times = first + (share.double() * (schedule.STEPS - first)).long()
        return schedule.levels_of(times.clamp(max=schedule.STEPS - 1))

    def descent(self, sigma: Tensor, steps: int) -> Tensor:
        """[steps + 1, b], the noise levels of DDIM in `steps` calls from each level [b], down to 0."""
        return schedule.levels_of(schedule.descent(schedule.times(sigma).round().long(), steps))

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Condition:
        """Network inputs from data rows: of their `prompt` and `reference`, and of `positive` and `writer`
        where all rows have them. Raises ValueError in words."""
        told = self.model.told([pictured(row, "reference") for row in rows], [text_of(row) for row in rows])
        if all("positive" in row and "writer" in row for row in rows):
            others = self.model.seen([pictured(row, "positive") for row in rows])
            told |= zip(("other_pictures", "other_edges", "other_widths"), others, strict=True)
            told["writer"] = torch.tensor([int(row["writer"]) for row in rows])
        return told

    def context(self, told: Condition) -> Condition:
        """`told` with what does not depend on noise: the context of the denoiser, and embeddings."""
        return {**told, **self.model.context(told)}

    def views(self, condition: Condition) -> tuple[dict[str, Tensor], Tensor]:
        """({branch: [b, 2, p] embeddings of two references of a writer}, writers [b]).

        Raises ValueError where rows have not two references and a writer.
        """
        if "other_pictures" not in condition:
            raise ValueError(
                "contrast between writers needs rows with a `positive`, another picture of the same hand as "
                "`reference`, and a number `writer`"
            )
        other = self.model.look(*(condition[f"other_{name}"] for name in ("pictures", "edges", "widths")))
        pairs = {"spatial": torch.stack([condition["z_spatial"], other.z_spatial], 1)}
        if self.config.edges != "none":
            pairs["high"] = torch.stack([condition["z_high"], other.z_high], 1)
        return pairs, condition["writer"]

    def forward(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocities [b, c, h, w]: noise - data of what the model predicts."""
        if "context" not in condition:
            condition = self.context(condition)
        z, a, b = diffused(latent, sigma)
        noise = self.model(z, schedule.times(sigma), condition).float()
        velocity: Tensor = noise - (z - b * noise) / a
        return velocity

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures [b, 1, H, W] in [0, 1], differentiable; no gradient where a pixel lies outside."""
        if self.autoencoder is None:
            pixels = pixel_shuffle(latent, self.config.patch)
        else:
            pixels = self.autoencoder.decode(latent)
        return (pixels / 2 + 0.5).clamp(0, 1)

    def latent(self, images: Tensor) -> Tensor:
        """Latents [b, c, h, w] of pictures [b, 1, H, W] in [0, 1]."""
        if self.autoencoder is None:
            return pixel_unshuffle(images * 2 - 1, self.config.patch)
        return self.autoencoder.encode(images * 2 - 1)

    def save(self, folder: Path) -> None:
        """Writes what `HandwritingModel.from_pretrained` loads."""
        self.model.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Loads what `save` wrote, in place. Raises ValueError for the weights of another model."""
        self.model.load(folder)


def text_of(row: Mapping[str, Any]) -> str:
    """What a data row asks to be written. Raises ValueError if it is not text."""
    text = row["prompt"]
    if not isinstance(text, str):
        raise ValueError(f"a handwriting model writes text, got the prompt {text!r:.80}")
    return text


def pictured(row: Mapping[str, Any], column: str) -> np.ndarray:
    """The picture [1, H, w] in a column. Raises ValueError where there is none."""
    if row.get(column) is None:
        raise ValueError(
            f"a handwriting model needs a `{column}`, a picture of the hand; the row has {', '.join(row)}"
        )
    return np.asarray(row[column], dtype=np.float32)
