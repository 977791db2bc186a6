"""Text as pictures of its characters: what a handwriting model is told to write.

Each character is one picture of `size` x `size` pixels, paper 1 and ink 0, from a font: GNU Unifont by
default, which has a picture of 16 x 16 or 8 x 16 pixels for every character of Unicode's first plane, or any
TTF, OTF, WOFF or WOFF2 file. Outlines are drawn at the largest size at which the font's lines fit. A
character the font lacks is refused, never left out or replaced.
"""

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oneloop.core.extras import MissingExtra

UNIFONT = (
    "/usr/share/fonts/opentype/unifont/unifont.otf",
    "/usr/share/fonts/unifont/unifont.otf",
    "/usr/share/fonts/truetype/unifont/unifont.ttf",
)
"""Files in which packages of GNU Unifont put the font."""
SHOWN = 20
"""Unsupported characters that an error names one by one."""
NO_CHARACTER = "\U0010ffff"
"""A code point that is never a character: drawn, it shows what a font draws for characters it lacks."""


class UnknownCharacter(ValueError):
    """Texts have characters that cannot be written; the message lists them all, with their places."""


class GlyphContent:
    """Pictures of characters from the font file `font_path` (None: the installed GNU Unifont).

    `alphabet`: the characters that are allowed; None: all that the font has. Raises ValueError when the font
    cannot be read, and MissingExtra without Pillow.
    """

    def __init__(self, font_path: str | Path | None = None, size: int = 16, alphabet: str | None = None):
        if size < 4:
            raise ValueError(f"glyphs: size must be at least 4 pixels, got {size}")
        self.path, self.size = Path(font_path or unifont()), size
        self.alphabet = None if alphabet is None else frozenset(alphabet)
        self._font = fitting_font(self.path, size)
        self._drawn: dict[str, Tensor | None] = {}

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(pictures float32 [b, T, size, size], ones behind a text's end; mask bool [b, T], where there are
        characters).

        Raises UnknownCharacter, with every character that cannot be written, and ValueError for no texts or
        an empty one.
        """
        if not texts:
            raise ValueError("glyphs: there are no texts")
        if empty := [place for place, text in enumerate(texts) if not text]:
            raise ValueError(f"glyphs: text {empty[0]} is empty; there is nothing to write")
        self.check(texts)
        longest = max(map(len, texts))
        glyphs = torch.ones(len(texts), longest, self.size, self.size)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for row, text in enumerate(texts):
            for place, character in enumerate(text):
                drawn = self._glyph(character)
                assert drawn is not None  # `check` refused the others
                glyphs[row, place], mask[row, place] = drawn, True
        return glyphs, mask

    def check(self, texts: Sequence[str]) -> None:
        """Raises UnknownCharacter for texts with characters that the font or the alphabet lacks."""
        lacking = [
            (character, row, place)
            for row, text in enumerate(texts)
            for place, character in enumerate(text)
            if not self.has(character)
        ]
        if not lacking:
            return
        places: dict[str, list[str]] = {}
        for character, row, place in lacking:
            where = f"{place + 1}" if len(texts) == 1 else f"{place + 1} of text {row}"
            places.setdefault(character, []).append(where)
        listed = "; ".join(f"{named(each)} at {', '.join(at)}" for each, at in places.items())
        source = self.path.name if self.alphabet is None else f"{self.path.name} or the alphabet"
        composed = any(unicodedata.combining(character) for character in places)
        hint = (
            " (letters and accents are written as one character each: Unicode's form NFC)" if composed else ""
        )
        raise UnknownCharacter(f"{source} lacks {len(places)} of the characters{hint}: {listed}")

    def has(self, character: str) -> bool:
        """Whether `character` can be written."""
        if self.alphabet is not None and character not in self.alphabet:
            return False
        return self._glyph(character) is not None

    def _glyph(self, character: str) -> Tensor | None:
        """The picture [size, size] of `character`; None: the font has none."""
        if character not in self._drawn:
            self._drawn[character] = self._draw(character)
        return self._drawn[character]

    def _draw(self, character: str) -> Tensor | None:
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cs") or (kind == "Cn" and self._boxes):
            return None
        ink = inked(self._font, character, self.size)
        if character.isspace():
            return torch.from_numpy(1 - ink)
        if not ink.any() or np.array_equal(ink, self._missing):
            return None
        return torch.from_numpy(1 - ink)

    @cached_property
    def _missing(self) -> np.ndarray:
        """What the font draws for a character it lacks."""
        return inked(self._font, NO_CHARACTER, self.size)

    @cached_property
    def _boxes(self) -> bool:
        """Whether the font draws a box with the number of each code point that is no character."""
        return str(self._font.getname()[0]).startswith("Unifont")


def unifont() -> Path:
    """The installed GNU Unifont. Raises ValueError, with what to install, where there is none."""
    found = next((Path(path) for path in UNIFONT if Path(path).is_file()), None)
    if found is None:
        raise ValueError(
            f"GNU Unifont is not installed (looked for {', '.join(UNIFONT)}): install your system's package, "
            "such as fonts-unifont of Debian and Ubuntu, or name a font file of your own"
        )
    return found


def open_font(path: Path, size: int) -> Any:
    """The font at `path` as a Pillow font of `size` pixels. Raises ValueError when it cannot be read."""
    try:
        from PIL import ImageFont
    except ImportError as error:
        raise MissingExtra("handwriting", "pillow", "images") from error
    if not path.is_file():
        raise ValueError(f"no such font file: {path}")
    try:
        # the basic layout draws alike whether or not libraqm is there
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a font (TTF, OTF, WOFF or WOFF2): {error}") from None


def fitting_font(path: Path, size: int) -> Any:
    """The font at the largest size at which its ascent and descent fit `size` pixels."""
    for pixels in range(size, 0, -1):
        font = open_font(path, pixels)
        if sum(font.getmetrics()) <= size:
            return font
    raise ValueError(f"{path}: its lines do not fit {size} pixels at any size; give a larger size")


def inked(font: Any, character: str, size: int) -> np.ndarray:
    """float32 [size, size], the share of ink in each pixel of `character`: in the middle, squeezed where it
    is wider than high.
    """
    from PIL import Image, ImageDraw

    left, _, right, _ = font.getbbox(character)
    advance = int(np.ceil(font.getlength(character)))
    start, width = min(left, 0), max(right, advance) - min(left, 0)
    image = Image.new("L", (max(width, 1), size))
    ImageDraw.Draw(image).text((-start, 0), character, fill=255, font=font)
    if width > size:
        image, width = image.resize((size, size)), size
    canvas = np.zeros((size, size), dtype=np.float32)
    before = (size - width) // 2
    if width > 0:
        canvas[:, before : before + width] = np.asarray(image, dtype=np.float32) / 255
    return canvas


def named(character: str) -> str:
    """A character as messages show it: itself, its number, and its name where it has one."""
    name = unicodedata.name(character, "")
    shown = character if character.isprintable() and not unicodedata.combining(character) else ""
    return " ".join(part for part in (shown, f"U+{ord(character):04X}", name) if part)
