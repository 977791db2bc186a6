"""A flow-matching MLP for images of a few pixels: for claims and tests that take seconds.

Its input is the pixels, sines of the noise level and the mean of the prompt's word embeddings. Like
`flow_transformer` it predicts the velocity v ~ noise - data of latents [b, C, H, W].
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

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

TIMES = 16


@part()
class FlowMlp:
    """An MLP of `layers` hidden layers of width `hidden_size` over all pixels; `seed` fixes its weights."""

    image_size: Annotated[int, Field(ge=1)] = 8
    """Height and width of an image."""
    channels: Channels = 1
    hidden_size: Annotated[int, Field(ge=1)] = 256
    """Width of the layers."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 3
    """Hidden layers."""
    words: Annotated[int, Field(ge=1)] = 1
    """Words of a prompt that are read; further words are ignored."""
    vocabulary: Vocabulary = 1024
    condition_channels: ConditionChannels = 0
    seed: Seed = 0

    def build(self) -> "PlainNetwork":
        """The network in fp32 on the CPU. Does not change torch's global random state."""
        with seeded(self.seed):
            return PlainNetwork(self)


class PlainNetwork(PixelNetwork):
    """MLP that predicts the velocity of latents [b, C, H, W] at noise levels [b]."""

    tokens = 1

    def __init__(self, options: FlowMlp):
        super().__init__(options)
        pixels, width = options.image_size**2, options.hidden_size
        inputs = (options.channels + options.condition_channels) * pixels + TIMES + width // 4
        self.words = nn.Embedding(options.vocabulary, width // 4)
        sizes = [inputs, *[width] * options.layers]
        hidden = [
            layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.SiLU())
        ]
        self.network = nn.Sequential(*hidden, nn.Linear(width, options.channels * pixels))

    def forward(self, latent: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocities [b, C, H, W]."""
        known = (condition["words"] > 0).to(latent.dtype)[..., None]
        words = (self.words(condition["words"]) * known).sum(1) / known.sum(1).clamp(min=1)
        seen = [latent.flatten(1), frequencies(sigma, TIMES), words]
        seen += [condition["picture"].flatten(1)] if "picture" in condition else []
        velocity: Tensor = self.network(torch.cat(seen, 1)).view_as(latent)
        return velocity
