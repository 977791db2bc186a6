"""A handwriting model of a few thousand weights, a font to write with, and words to look at."""

from functools import cache

import torch

from oneloop.models.handwriting.config import HandwritingConfig
from oneloop.models.handwriting.model import HandwritingModel
from oneloop.models.seeded import seeded

LETTERS = "abcdefgh"


class Glyphs:
    """Stands for `GlyphContent`, so that no font is needed: a letter's picture is noise named by it."""

    def encode(self, texts):
        longest = max(map(len, texts))
        glyphs = torch.ones(len(texts), longest, 8, 8)
        for row, text in enumerate(texts):
            for place, letter in enumerate(text):
                generator = torch.Generator().manual_seed(ord(letter))
                glyphs[row, place] = torch.rand(8, 8, generator=generator)
        lengths = torch.tensor([len(text) for text in texts])
        return glyphs, torch.arange(longest) < lengths[:, None]


def config(**options):
    sizes = {"height": 8, "letter_width": 8, "letters": 2, "glyph_size": 8, "hidden_size": 16, "heads": 2}
    return HandwritingConfig(**{**sizes, "channels": (8, 16), **options})


def tiny(**options) -> HandwritingModel:
    """Always the same weights; its letters come from `Glyphs`."""
    with seeded(0):
        model = HandwritingModel(config(**options)).eval()
    model.__dict__["glyphs"] = Glyphs()
    return model


@cache
def references(*widths):
    """Pictures [1, 8, w] of these widths."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(1, 8, width, generator=generator) for width in widths]


class TinyOneDm:
    """A part of models that builds a flow network of a `tiny` model."""

    def build(self):
        from oneloop.models.flow.one_dm import HandwritingNetwork

        with seeded(0):
            network = HandwritingNetwork(config())
        network.model.__dict__["glyphs"] = Glyphs()
        return network


def rows(count=3):
    """Data rows of handwriting: words, targets, two references of each of two writers."""
    generator = torch.Generator().manual_seed(2)
    return [
        {
            "prompt": ("ab", "c", "gh", "de")[key % 4],
            "image": torch.rand(1, 8, 16, generator=generator).numpy(),
            "reference": torch.rand(1, 8, 10 + 3 * (key % 3), generator=generator).numpy(),
            "positive": torch.rand(1, 8, 12, generator=generator).numpy(),
            "writer": key % 2,
        }
        for key in range(count)
    ]
