"""Pictures of words in files, by writer: which are used, which are left out and why, and their rows."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.pictures import picture
from oneloop.models.handwriting.reference import lighter_ink, opened
from oneloop.sample.data.handwriting.rows import row, two_others
from oneloop.sample.data.handwriting.splits import (
    Vocabulary,
    Writers,
    chosen_writers,
    in_vocabulary,
    is_held_out_word,
)


class Sample(NamedTuple):
    """A picture of a word."""

    path: Path
    """Its file."""
    text: str
    """What is written."""
    writer: str
    """Who wrote it."""


class Split(NamedTuple):
    """Which targets rows have."""

    writers: Writers
    """Writers of the rows."""
    vocabulary: Vocabulary
    """Words of the targets."""
    unseen: float
    """Share of writers that are unseen."""
    held_out: float
    """Share of words that are held out."""


class ScannedWords:
    """Rows of the targets of a split among `samples`; references are other samples of known words.

    Left out, with a warning that counts them: words of more than `longest` characters, and samples of writers
    with no other sample to refer to. `left_out`: what was left out before, in words. Raises ValueError,
    naming `where`, when nothing is left.
    """

    def __init__(
        self, samples: Sequence[Sample], split: Split, longest: int, where: str, left_out: Sequence[str] = ()
    ):
        self.samples, self.where = samples, where
        self._numbers = {
            name: number for number, name in enumerate(sorted({each.writer for each in samples}))
        }
        short = [place for place, each in enumerate(samples) if len(each.text) <= longest]
        chosen = set(chosen_writers(self._numbers, split.writers, split.unseen))
        self._known: dict[str, list[int]] = {}
        for place in short:
            if not is_held_out_word(samples[place].text, split.held_out):
                self._known.setdefault(samples[place].writer, []).append(place)
        wanted = [
            place
            for place in short
            if samples[place].writer in chosen
            and in_vocabulary(samples[place].text, split.vocabulary, split.held_out)
        ]
        self.targets = [place for place in wanted if self._has_others(place)]
        alone = sorted(set(wanted) - set(self.targets))
        writers = {samples[place].writer for place in alone}
        lonely = f"{len(alone)} words of {len(writers)} writers with no other word to refer to"
        long = len(samples) - len(short)
        counted = f"{long} words of more than {longest} characters"
        self._say([*left_out, counted if long else "", lonely if alone else ""])
        if not self.targets:
            raise ValueError(
                f"{where}: no word is left for writers: {split.writers}, {split.vocabulary} words"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def row(self, key: int, seed: int, height: int, width: int | None) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1, ValueError for a file that cannot be used."""
        if not 0 <= key < len(self.targets):
            raise IndexError(f"row {key} of {self.where}: there are {len(self.targets)} words")
        place = self.targets[key]
        sample, others = self.samples[place], self._others(place)
        one, two = two_others(len(others), (seed, "references", key))
        first, second = (self.samples[others[each]].path for each in (one, two))
        shown = written(first, height)
        again = sheared(shown) if first == second else written(second, height)
        writer = (self._numbers[sample.writer], sample.writer)
        return row(sample.text, written(sample.path, height), (shown, again), writer, width, str(sample.path))

    def place(self, key: int) -> str:
        """The file of row number `key`."""
        return str(self.samples[self.targets[key]].path)

    def _others(self, place: int) -> list[int]:
        """Known samples of the writer of the sample `place`, but for itself."""
        return [each for each in self._known.get(self.samples[place].writer, []) if each != place]

    def _has_others(self, place: int) -> bool:
        # stops at the first: a writer of thousands of words is not walked once for each of them
        return any(each != place for each in self._known.get(self.samples[place].writer, []))

    def _say(self, left_out: Sequence[str]) -> None:
        if said := [each for each in left_out if each]:
            warnings.warn(f"{self.where}: left out: {'; '.join(said)}", stacklevel=4)


class ScannedRows:
    """What data parts of scanned words answer alike; each says of which words by its `_words`."""

    seed: int
    height: int
    width: int | None
    _words: Any
    """The `ScannedWords` of the part."""

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1, ValueError for a picture that cannot be used,
        naming its file."""
        found: dict[str, Any] = self._words.row(key, self.seed, self.height, self.width)
        return found

    def place(self, key: int) -> str:
        """The file of row number `key`."""
        return str(self._words.place(key))

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of some rows."""
        return of_rows(self, SPREAD)


def written(path: Path, height: int) -> np.ndarray:
    """float32 [height, w] in [0, 1], the picture in a file, grey and scaled to that height.

    Raises ValueError, naming the file, when it cannot be read or its ink is lighter than its paper.
    """
    from PIL import Image

    grey = picture(opened(path), str(path)).mean(0)
    if lighter_ink(grey, float(np.median(grey))):
        raise ValueError(f"{path} shows ink that is lighter than its paper")
    width = max(1, round(grey.shape[1] * height / grey.shape[0]))
    image = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32).clip(0, 1)


def sheared(word: np.ndarray) -> np.ndarray:
    """`word` [h, w] leaning a little: a second view where a writer has no third sample."""
    from PIL import Image

    lean = 0.07
    size, data = (word.shape[1], word.shape[0]), (1, lean, -lean * len(word) / 2, 0, 1, 0)
    image = Image.fromarray(word).transform(
        size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=1.0
    )
    return np.asarray(image, dtype=np.float32)
