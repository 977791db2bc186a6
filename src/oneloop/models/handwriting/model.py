"""One-DM: a diffusion model that draws a text in the hand of one reference picture (arXiv 2409.04004).

    b words   T characters   d width   H, W height and width of a word   c, h, w of its latent

    context = Fusion(glyphs of the text, style of the reference)      noise = UNet(z_t, t, context)

The context depends on no time: it is computed once for all calls. The U-Net is diffusers'; a latent is the
pixels in [-1, 1], or that of an AutoencoderKL, which stays frozen. Not here: dropout, guidance (the paper has
none), batch norm.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from oneloop.core.extras import MissingExtra
from oneloop.models.handwriting import schedule
from oneloop.models.handwriting.config import HandwritingConfig, read_config
from oneloop.models.handwriting.fusion import Fusion
from oneloop.models.handwriting.glyphs import GlyphContent
from oneloop.models.handwriting.laplacian import words
from oneloop.models.handwriting.style_encoder import StyleEncoder, StyleFeatures
from oneloop.models.handwriting.unrolled import diffused

WEIGHTS = "model.safetensors"
Condition = dict[str, Tensor]


class HandwritingModel(nn.Module):
    """Style encoder, fusion and denoiser; `condition` once, then `forward` at each time."""

    def __init__(self, config: HandwritingConfig):
        super().__init__()
        self.config = config
        sizes = (config.hidden_size, config.heads, config.layers, config.blocks)
        high = config.edges != "none"
        self.style = StyleEncoder(*sizes, config.stride, high_frequency=high, gated=config.gated)
        self.fusion = Fusion(*sizes, high_frequency=high)
        self.denoiser = denoiser(config)

    @cached_property
    def glyphs(self) -> GlyphContent:
        """Pictures of what can be written. Raises ValueError when there is no such font."""
        config = self.config
        return GlyphContent(config.font or None, config.glyph_size, config.alphabet or None)

    def told(self, pictures: Sequence[Any], texts: Sequence[str]) -> Condition:
        """What `context` takes, of reference pictures [1, H, w] in [0, 1] and texts, b of each."""
        glyphs, mask = self.glyphs.encode(texts)
        images, edges, widths = self.seen(pictures)
        letters = mask.sum(1)
        return {"glyphs": glyphs, "letters": letters, "pictures": images, "edges": edges, "widths": widths}

    def seen(self, pictures: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
        """What `look` takes, of pictures [1, H, w]: images and their edges [b, 1, H, W], widths [b]."""
        edges = self.config.edges
        batch = words(pictures, "clip" if edges == "none" else edges)
        return batch.images, batch.high, batch.mask.sum(1)

    def context(self, told: Condition) -> Condition:
        """`context` [b, T, d] and `known` (bool [b, T]), and the reference's embeddings `z_spatial`,
        `z_high`."""
        glyphs = told["glyphs"]
        mask = torch.arange(glyphs.shape[1], device=glyphs.device) < told["letters"][:, None]
        style = self.look(told["pictures"], told["edges"], told["widths"])
        context = self.fusion(glyphs, mask, style)
        return {"context": context, "known": mask, "z_spatial": style.z_spatial, "z_high": style.z_high}

    def look(self, pictures: Tensor, edges: Tensor, widths: Tensor) -> StyleFeatures:
        """See `StyleEncoder.forward`."""
        seen: StyleFeatures = self.style(pictures, edges, widths)
        return seen

    def condition(self, pictures: Sequence[Any], texts: Sequence[str]) -> Condition:
        """What `forward` takes, for all times: texts in the hands of reference pictures [1, H, w], b each."""
        device = next(self.parameters()).device
        return self.context({name: value.to(device) for name, value in self.told(pictures, texts).items()})

    def forward(self, z_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Noise [b, c, h, w] in latents `z_t` [b, c, h, w] at times `t` [b]."""
        answer: Tensor = self.denoiser(
            z_t,
            t,
            condition["context"],
            encoder_attention_mask=condition["known"],
            return_dict=False,
        )[0]
        if self.config.predicts == "noise":
            return answer
        _, a, b = diffused(z_t, schedule.levels_at(t))
        return (z_t - a * answer) / b

    def save_pretrained(self, folder: Path | str) -> None:
        """Writes `config.json` and `model.safetensors` into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write(folder)
        save_file({name: weight.contiguous() for name, weight in self.state_dict().items()}, folder / WEIGHTS)

    def load(self, folder: Path | str) -> None:
        """The weights that `save_pretrained` left in `folder`. Raises ValueError for others."""
        path = Path(folder) / WEIGHTS
        try:
            self.load_state_dict(load_file(path))
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{path} holds no weights of this handwriting model: {error}") from None

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "HandwritingModel":
        """The model that `save_pretrained` left in `folder`. Raises ValueError when it cannot be loaded."""
        model = cls(read_config(Path(folder)))
        model.load(folder)
        return model.eval()


def denoiser(config: HandwritingConfig) -> Any:
    """The U-Net: a level for each of `channels`, cross-attention at the first level (the paper's) or at the
    last, and in the middle. Raises MissingExtra without diffusers."""
    try:
        from diffusers import UNet2DConditionModel
    except ImportError as error:
        raise MissingExtra("models.one_dm", "diffusers", "images") from error
    levels = len(config.channels)
    attending = 0 if config.attention == "first" else levels - 1
    down = ["CrossAttnDownBlock2D" if i == attending else "DownBlock2D" for i in range(levels)]
    up = ["CrossAttnUpBlock2D" if i == attending else "UpBlock2D" for i in reversed(range(levels))]
    channels = config.latent_channels
    return UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.channels,
        layers_per_block=1,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=config.hidden_size,
        attention_head_dim=config.heads,  # which diffusers takes as the number of heads
        norm_num_groups=min(32, math.gcd(*config.channels) // 2),
    )
