"""A small flow-matching transformer over image patches and the words of a prompt, built here (DiT,
2212.09748).

    b latents   C channels   L words

The network predicts the velocity v ~ noise - data of x = (1 - sigma) data + sigma noise. Patches and words
are one sequence, so every layer sees both (as in Stable Diffusion 3); sigma and the mean of the words
modulate each block, whose branches start at zero. Not here: how a prompt becomes words (pixel_network.py),
guidance, latents of a VAE (diffusion_pipeline.py).
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention, silu

from oneloop.core.part import part
from oneloop.models.flow.pixel_network import (
    Channels,
    Condition,
    ConditionChannels,
    PixelNetwork,
    Vocabulary,
    frequencies,
)
from oneloop.models.seeded import Seed, seeded

FREQUENCIES = 64
LEAST = 0.05
"""Least divisor where predicted data becomes a velocity: (latent - data) / sigma is too sensitive below."""


@part(paper="arXiv 2212.09748")
class FlowTransformer:
    """A transformer of `layers` blocks over image patches and words; `seed` fixes its initial weights."""

    image_size: Annotated[int, Field(ge=2)] = 32
    """Height and width of an image, a multiple of `patch`."""
    channels: Channels = 3
    patch: Annotated[int, Field(ge=1)] = 4
    """Height and width of the squares that are one token each."""
    hidden_size: Annotated[int, Field(ge=8)] = 128
    """Width of the residual stream, a multiple of `heads`."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 6
    """Number of blocks."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of each block."""
    words: Annotated[int, Field(ge=1)] = 16
    """Words (and letters of quoted words) of a prompt that are read; further ones are ignored."""
    vocabulary: Vocabulary = 4096
    condition_channels: ConditionChannels = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        for name, divisor in (("image_size", "patch"), ("hidden_size", "heads")):
            value, by = getattr(self, name), getattr(self, divisor)
            if value % by:
                nearest = value // by * by or by
                raise ValueError(
                    f"{name} must be a multiple of {divisor} = {by}, got {value}; nearest: {nearest}"
                )

    def build(self) -> "PatchNetwork":
        """The network in fp32 on the CPU. Does not change torch's global random state."""
        with seeded(self.seed):
            return PatchNetwork(self)


class PatchNetwork(PixelNetwork):
    """Transformer that predicts the data and returns velocities of latents [b, C, H, W] at noise levels [b].

    It predicts data because data fills few dimensions of a patch and noise fills all: a narrow network can
    represent the former only.
    """

    def __init__(self, options: FlowTransformer):
        super().__init__(options)
        side, width = options.image_size // options.patch, options.hidden_size
        inputs = (options.channels + options.condition_channels) * options.patch**2
        self.tokens = side * side + options.words
        self.patches = nn.Linear(inputs, width)
        self.words = nn.Embedding(options.vocabulary, width)
        self.places = nn.Parameter(torch.randn(self.tokens, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList([ModulatedBlock(width, options.heads) for _ in range(options.layers)])
        self.last = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, options.channels * options.patch**2)
        nn.init.normal_(self.words.weight, std=0.5)
        for layer in (self.last, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocities [b, C, H, W]."""
        words = self.words(condition["words"])
        inputs = torch.cat([latent, condition["picture"]], 1) if "picture" in condition else latent
        x = torch.cat([self.patches(self._cut(inputs)), words], 1) + self.places
        known = (condition["words"] > 0).to(words.dtype)[..., None]
        mean = (words * known).sum(1) / known.sum(1).clamp(min=1)
        embedding = silu(self.time(frequencies(sigma, FREQUENCIES)) + mean)
        for block in self.blocks:
            x = block(x, embedding)
        x = x[:, : x.shape[1] - words.shape[1]]
        scale, shift = self.last(embedding)[:, None].chunk(2, -1)
        data = self._paste(self.head(normal(x) * (1 + scale) + shift))
        velocity: Tensor = (latent - data) / sigma.clamp(min=LEAST)[:, None, None, None]
        return velocity

    def _cut(self, images: Tensor) -> Tensor:
        """Cuts images [b, C, H, W] into flat patches [b, patches, values of a patch]."""
        p = self.options.patch
        cut = images.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # b, C, rows, p, columns, p
        patches: Tensor = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return patches

    def _paste(self, patches: Tensor) -> Tensor:
        p, (channels, height, width) = self.options.patch, self.shape
        cut = patches.view(-1, height // p, width // p, channels, p, p)
        pasted: Tensor = cut.permute(0, 3, 1, 4, 2, 5).reshape(-1, *self.shape)
        return pasted


class ModulatedBlock(nn.Module):
    """Attention and a two-layer MLP, each scaled, shifted and gated by a function of an embedding."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x` [b, tokens, width] after this block; `embedding` [b, width] is of noise level and words."""
        scale, shift, gate, scale2, shift2, gate2 = self.modulation(embedding)[:, None].chunk(6, -1)
        qkv = self.qkv(normal(x) * (1 + scale) + shift).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate * self.out(seen)
        added: Tensor = x + gate2 * self.network(normal(x) * (1 + scale2) + shift2)
        return added


def normal(x: Tensor) -> Tensor:
    """`x` normalised to mean 0 and variance 1 along its last dimension."""
    return layer_norm(x, x.shape[-1:])
