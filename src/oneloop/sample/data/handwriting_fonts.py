"""Words in the hands of fonts: each font file of a folder is a writer, and no two words are quite alike.

Fonts do not vary, so words are bent and put on paper by `oneloop.sample.data.handwriting.jitter`: these data
are semi-synthetic. A picture is a function of (seed, writer, word, draw). `oneloop fetch handwriting-fonts`
gets open fonts. What a row holds: `oneloop.sample.data.handwriting.rows`.
"""

import warnings
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.sample.data.handwriting import options
from oneloop.sample.data.handwriting.fonts import FontWriter, font_files
from oneloop.sample.data.handwriting.jitter import MARGIN, WORKING_HEIGHT, Jitter, jittered
from oneloop.sample.data.handwriting.rows import row, two_others
from oneloop.sample.data.handwriting.splits import chosen_writers, in_vocabulary, is_held_out_word
from oneloop.sample.data.handwriting.word_list import WORDS

KEPT = 4096
"""Rows that are kept once drawn."""


class Hand(NamedTuple):
    """A writer and what he writes."""

    number: int
    """Among all writers of the folder."""
    name: str
    """File of the font below the folder, without its ending."""
    font: FontWriter
    """The font."""
    targets: list[str]
    """Words of the targets."""
    known: list[str]
    """Words of the references: at least three."""


@part(paper="arXiv 2409.04004")
class HandwritingFonts:
    """`size` words, each by one of the fonts in `folder`, with two other words in the same hand."""

    folder: str = "fonts/handwriting"
    """Folder of font files (TTF, OTF, WOFF, WOFF2); each is a writer."""
    words: tuple[str, ...] = ()
    """Words that are written; empty: about 900 common English ones."""
    longest: options.Longest = 9
    size: Annotated[int, Field(ge=1)] = 4096
    """Number of rows; they are drawn when asked for."""
    height: options.Height = 64
    width: options.Width = None
    writers: options.WriterChoice = "seen"
    vocabulary: options.VocabularyChoice = "known"
    unseen: options.Unseen = 0.25
    held_out: options.HeldOut = 0.2
    shear: Annotated[float, Field(ge=0, le=30)] = 4.0
    """Most degrees by which a word is sheared to either side."""
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    """Most relative change of a word's size."""
    elastic: Annotated[float, Field(ge=0, le=0.1)] = 0.01
    """Standard deviation of local shifts, in heights."""
    dilation: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Most weight of strokes that are a pixel wider on every side, at 64 pixels of height."""
    texture: Annotated[float, Field(ge=0, le=1)] = 0.06
    """Most darkening of the paper, which varies smoothly."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Standard deviation of the noise of each pixel."""
    seed: options.Seed = 0

    def __post_init__(self) -> None:
        if bad := [word for word in self.words if not word or any(map(str.isspace, word))]:
            raise ValueError(f"words: each is one word without spaces, got {bad[0]!r}")

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number, the same always. Raises IndexError outside 0..size-1, ValueError for a
        folder that cannot be used.
        """
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: there are {self.size} words")
        if key not in self._drawn:
            if len(self._drawn) >= KEPT:
                self._drawn.clear()
            self._drawn[key] = self._row(key)
        return self._drawn[key]

    def drawn(self, hand: Hand, word: str, draw: int) -> np.ndarray:
        """float32 [height, w], the picture number `draw` of `word` by `hand`."""
        named = draws.mix(self.seed, "handwriting", hand.name, word, draw)
        random = np.random.Generator(np.random.Philox(key=int(named)))
        return jittered(hand.font.draw(word), self.height, self._jitter, random)

    @cached_property
    def hands(self) -> list[Hand]:
        """The writers of the split. Warns of words and fonts that are left out."""
        files = font_files(Path(self.folder))
        numbers = {name: number for number, name in enumerate(files)}
        words = [word for word in dict.fromkeys(self.words or WORDS) if len(word) <= self.longest]
        factor = -(-WORKING_HEIGHT // self.height)
        found, pairs, few = [], 0, 0
        for name in chosen_writers(files, self.writers, self.unseen):
            font = FontWriter(files[name], self.height * factor)
            written = [word for word in words if font.writes(word) and self._fits(font, word, factor)]
            pairs += len(words) - len(written)
            known = [word for word in written if not is_held_out_word(word, self.held_out)]
            targets = [word for word in written if in_vocabulary(word, self.vocabulary, self.held_out)]
            if len(known) < 3 or not targets:
                few += 1
            else:
                found.append(Hand(numbers[name], name, font, targets, known))
        self._say(len(set(self.words or WORDS)) - len(words), pairs, few)
        if not found:
            raise ValueError(
                f"handwriting_fonts: no font of {self.folder} writes three known words and one of the targets"
            )
        return found

    def _say(self, long: int, pairs: int, few: int) -> None:
        said = [
            f"{long} words are longer than {self.longest} characters" if long else "",
            f"{pairs} pairs of font and word are too wide or have characters that the font lacks"
            if pairs
            else "",
            f"{few} fonts write fewer than three known words, or no target" if few else "",
        ]
        if any(said):
            left = "; ".join(each for each in said if each)
            warnings.warn(f"handwriting_fonts of {self.folder}: left out: {left}", stacklevel=2)

    def _fits(self, font: FontWriter, word: str, factor: int) -> bool:
        """Whether `word` is surely no wider than the target, however it is bent."""
        if self.width is None:
            return True
        high = font.height
        bent = high * (np.tan(np.radians(self.shear)) + 6 * self.elastic) + 2 * factor + 2
        most = font.width(word) * (1 + self.scale) + bent + 2 * MARGIN * high
        return bool(most <= self.width * factor)

    @cached_property
    def _jitter(self) -> Jitter:
        return Jitter(self.shear, self.scale, self.elastic, self.dilation, self.texture, self.noise)

    @cached_property
    def _drawn(self) -> dict[int, dict[str, Any]]:
        return {}

    def _row(self, key: int) -> dict[str, Any]:
        who, what = draws.uniforms(draws.mix(self.seed, "word", key), np.arange(2))
        hand = self.hands[int(who * len(self.hands))]
        text = hand.targets[int(what * len(hand.targets))]
        others = [word for word in hand.known if word != text]
        one, two = two_others(len(others), (self.seed, "references", key))
        references = (self.drawn(hand, others[one], 2 * key), self.drawn(hand, others[two], 2 * key + 1))
        return row(
            text,
            self.drawn(hand, text, key),
            references,
            (hand.number, hand.name),
            self.width,
            f"data row {key}",
        )
