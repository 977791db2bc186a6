"""Text in the hand of a reference picture: words drawn by a trained model, set in lines.

    H height of a word   w its width

A word is drawn by itself, on the canvas that the model was trained with, or a wider one for a word that is
longer, and cut to its ink. Its noise is named by the seed and its place in the text, so that other words
change nothing.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.models.flow.one_dm import HandwritingNetwork, OneDm
from oneloop.models.handwriting.unrolled import unroll

SPACE, LEADING, MARGIN = 0.35, 0.25, 0.25
"""Paper between two words, between two lines, and around the text, in heights of a line."""
INK = 0.6
"""A column with a pixel below this has ink."""


def open_writer(folder: Path | str) -> HandwritingNetwork:
    """The network in `folder`, which `save_pretrained` or a checkpoint left. Raises ValueError for others."""
    return OneDm(folder=str(folder)).build().eval()


def words_of_text(network: HandwritingNetwork, text: str) -> list[list[str]]:
    """The words of each line of `text`. Warns of words that are longer than those of the training.

    Raises ValueError for a text without words, and UnknownCharacter, with all characters that cannot be
    written and their places in the text.
    """
    lines = [line.split() for line in text.splitlines()]
    words = [word for line in lines for word in line]
    if not words:
        raise ValueError("there is no text to write: it is empty, or has spaces only")
    glyphs = network.model.glyphs
    known = next((each for each in text if not each.isspace() and glyphs.has(each)), "")
    # white space becomes a character that can be written, so that places are those of the text
    glyphs.check(["".join((known if each.isspace() else each) for each in text)])
    most = network.config.letters
    if long := [word for word in words if len(word) > most]:
        warnings.warn(
            f"{len(long)} words, such as '{long[0]}', are longer than the {most} characters that this model "
            "was trained to write; they may come out wrong",
            stacklevel=2,
        )
    return lines


@torch.no_grad()
def write_word(
    network: HandwritingNetwork,
    picture: np.ndarray,
    word: str,
    place: int = 0,
    steps: int = 50,
    seed: int = 0,
) -> np.ndarray:
    """float32 [H, w], paper 1 and ink 0: `word`, number `place` of a text, in the hand of `picture`
    [1, H, v]."""
    levels = torch.tensor(network.noise_levels(steps))
    device = next(network.parameters()).device
    told = network.encode([{"prompt": word, "reference": picture}])
    known = network.context({name: value.to(device) for name, value in told.items()})
    start = float(np.hypot(levels[0], 1 - levels[0])) * noise(network, word, place, seed).to(device)

    def velocity(x: Tensor, step: int) -> Tensor:
        found: Tensor = network(x, levels[step][None].to(x), known)
        return found

    latent, _ = unroll(velocity, start, levels[:, None])
    return cut(network.decode(latent)[0, 0].cpu().numpy())


def noise(network: HandwritingNetwork, word: str, place: int, seed: int) -> Tensor:
    """float32 [1, c, h, w], the start of the word at that place of a text."""
    channels, height, width = network.shape
    wide = width // network.config.letters * max(len(word), network.config.letters)
    named = int(draws.mix(seed, "write", place, word) >> np.uint64(1))
    generator = torch.Generator().manual_seed(named)
    return torch.randn(1, channels, height, wide, generator=generator)


def cut(word: np.ndarray) -> np.ndarray:
    """The columns of a word [H, w] from its first ink to its last, and one more on either side."""
    columns = np.flatnonzero((word < INK).any(0))
    if not len(columns):
        return word
    return word[:, max(0, columns[0] - 1) : columns[-1] + 2]


def set_lines(lines: Sequence[Sequence[np.ndarray]], height: int) -> np.ndarray:
    """float32 [h, v], words [height, w] set in lines, with paper around."""
    space, margin = round(SPACE * height), round(MARGIN * height)
    drawn = []
    for line in lines:
        pieces: list[np.ndarray] = []
        for word in line:
            pieces += [np.ones((height, space), dtype=np.float32)] if pieces else []
            pieces.append(word)
        drawn.append(np.concatenate(pieces, 1) if pieces else np.ones((height, 1), dtype=np.float32))
    widest, leading = max(strip.shape[1] for strip in drawn), round(LEADING * height)
    page = np.ones((len(drawn) * height + (len(drawn) - 1) * leading, widest), dtype=np.float32)
    for number, strip in enumerate(drawn):
        top = number * (height + leading)
        page[top : top + height, : strip.shape[1]] = strip
    return np.pad(page, margin, constant_values=1.0)


def as_picture(page: np.ndarray, transparent: bool = False) -> Any:
    """A Pillow picture of a page [h, v]: grey, or black ink on nothing."""
    from PIL import Image

    levels = (page.clip(0, 1) * 255).round().astype(np.uint8)
    if not transparent:
        return Image.fromarray(levels)
    return Image.fromarray(np.stack([np.zeros_like(levels), 255 - levels], 2), "LA").convert("RGBA")
