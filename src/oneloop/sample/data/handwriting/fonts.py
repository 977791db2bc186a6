"""A font as a writer: which words it can write, how wide they are, and their pictures."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from oneloop.models.handwriting.glyphs import NO_CHARACTER, open_font

ENDINGS = (".ttf", ".otf", ".woff", ".woff2")
MEASURED = "Ahgjlpqy"
"""Letters whose heights and depths set the size of a writer's words."""
ROOM = 0.06
"""Paper above and below these letters, in heights."""
LARGE = 128
"""Pixels of the font at which it is measured."""


class FontWriter:
    """The font at `path`, writing lines `height` pixels high. Raises ValueError when it cannot be read."""

    def __init__(self, path: Path, height: int):
        self.path, self.height = path, height
        large = open_font(path, LARGE)
        _, top, _, bottom = large.getbbox(MEASURED, anchor="ls")
        within = height * (1 - 2 * ROOM)
        self.size = max(1, int(LARGE * within / max(1, bottom - top)))
        self.base = round(height * ROOM + within * max(0, -top) / max(1, bottom - top))
        self.font = open_font(path, self.size)

    @cached_property
    def _missing(self) -> bytes:
        return bytes(self.font.getmask(NO_CHARACTER))

    @cached_property
    def _known(self) -> dict[str, bool]:
        return {}

    def writes(self, word: str) -> bool:
        """Whether the font has every character of `word`."""
        for character in set(word) - set(self._known):
            drawn = bytes(self.font.getmask(character))
            self._known[character] = any(drawn) and drawn != self._missing
        return all(self._known[character] for character in word)

    def width(self, word: str) -> int:
        """Columns that the ink of `word` takes, in pixels at this height, before it is bent."""
        left, _, right, _ = self._fitting(word).getbbox(word, anchor="ls")
        return int(right - left)

    def draw(self, word: str) -> np.ndarray:
        """float64 [height, w], paper 1 and ink 0, on the writer's base line; smaller where it is too high."""
        from PIL import Image, ImageDraw

        font = self._fitting(word)
        left, _, right, _ = font.getbbox(word, anchor="ls")
        image = Image.new("L", (max(1, int(right - left)), self.height), 255)
        ImageDraw.Draw(image).text((-left, self.base), word, fill=0, font=font, anchor="ls")
        return np.asarray(image, dtype=np.float64) / 255

    def _fitting(self, word: str) -> Any:
        """The font, smaller where letters of `word` would leave the line."""
        _, top, _, bottom = self.font.getbbox(word, anchor="ls")
        needs = max(-top / max(1, self.base), bottom / max(1, self.height - self.base), 1.0)
        return self.font if needs == 1 else open_font(self.path, max(1, int(self.size / needs)))


def font_files(folder: Path) -> dict[str, Path]:
    """{name of a writer: font file} of the fonts in `folder` and the folders below it, by path.

    Raises ValueError, with how to get fonts, when there are none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        why = "has no fonts" if folder.is_dir() else "is no folder"
        raise ValueError(
            f"{folder} {why} ({', '.join(ENDINGS)}): `oneloop fetch handwriting-fonts` gets open ones"
        )
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}
