"""What flow networks on pixels share: options, the words of a prompt, noise levels, saving and loading.

A prompt is split into words, and text in double quotes into letters; a word's embedding row is a hash of the
word, so there is no tokenizer to train or to store. A prompt of one word is a class label.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from oneloop.core import draws

WEIGHTS = "model.safetensors"
Condition = dict[str, Tensor]
Channels = Annotated[int, Field(ge=1, description="Colour channels of an image.")]
Vocabulary = Annotated[
    int, Field(ge=2, description="Rows of the embedding table; a word's row is a hash of the word.")
]
CONDITION = "Channels of the data's `condition` (a picture, a mask), concatenated with the latent; 0: none."
ConditionChannels = Annotated[int, Field(ge=0, description=CONDITION)]


class PixelNetwork(nn.Module):
    """A network whose latent is the pixels themselves: reads prompts, converts images, saves and loads."""

    def __init__(self, options: Any):
        super().__init__()
        self.options = options
        self.shape = self.picture = (options.channels, options.image_size, options.image_size)
        self.units = options.layers * options.hidden_size

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Condition:
        """Network inputs from data rows: `words` int64 [b, L] and, with `condition_channels`, `picture`."""
        ids = [hashed_words(row["prompt"], self.options.words, self.options.vocabulary) for row in rows]
        condition = {"words": torch.tensor(ids, dtype=torch.long)}
        if self.options.condition_channels:
            pictures = [self._picture(row) for row in rows]
            condition["picture"] = torch.stack(pictures) * 2 - 1
        return condition

    def _picture(self, row: Mapping[str, Any]) -> Tensor:
        wanted = (self.options.condition_channels, *self.shape[1:])
        given = torch.as_tensor(np.asarray(row.get("condition", ())), dtype=torch.float32)
        if given.shape != wanted:
            raise ValueError(f"a data row needs a `condition` of shape {wanted}, got {tuple(given.shape)}")
        return given

    def decode(self, latent: Tensor) -> Tensor:
        """Images [b, C, H, W] in [0, 1]; no gradient where a latent lies outside [-1, 1]."""
        return (latent / 2 + 0.5).clamp(0, 1)

    def latent(self, images: Tensor) -> Tensor:
        """Latents [b, C, H, W] in [-1, 1] of images [b, C, H, W] in [0, 1]."""
        return images * 2 - 1

    def save(self, folder: Path) -> None:
        """Writes `model.safetensors`."""
        save_file({name: weight.contiguous() for name, weight in self.state_dict().items()}, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        """Loads what `save` wrote, in place."""
        self.load_state_dict(load_file(folder / WEIGHTS))


def hashed_words(prompt: Any, length: int, vocabulary: int) -> list[int]:
    """`length` embedding rows of a prompt's words, padded with 0. Raises ValueError if it is not text."""
    if not isinstance(prompt, str):
        raise ValueError(f"this network reads prompts of words, got {prompt!r:.80}")
    pieces: list[str] = []
    for quoted, word in re.findall(r'"([^"]*)"|(\w+)', prompt):
        pieces += [f'"{letter}' for letter in quoted] if quoted else [word.lower()] if word else []
    ids = [hashed_word(piece, vocabulary) for piece in pieces[:length]]
    return ids + [0] * (length - len(ids))


@cache
def hashed_word(piece: str, vocabulary: int) -> int:
    """Embedding row of a word or letter: a hash from 1 to `vocabulary` - 1."""
    return 1 + int(draws.mix(piece) % np.uint64(vocabulary - 1))


def frequencies(sigma: Tensor, count: int) -> Tensor:
    """[b, count], sines and cosines of noise levels [b] in [0, 1]."""
    rates = torch.exp(torch.linspace(0, math.log(1000), count // 2, device=sigma.device))
    angles = sigma[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
