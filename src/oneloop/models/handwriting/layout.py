"""Where there is ink on a flattened picture: its lines and words, by the gaps between them."""

from typing import Any

import numpy as np
from scipy import ndimage

DARK = 0.5
"""A pixel below this is ink, of paper 1 and ink 0."""
SPECK = 0.002
"""A spot of ink smaller than this share of the largest is a speck."""
LINE_GAP = 0.3
"""Rows without ink between two lines, in heights of a line."""
SURE, LIKELY, UNUSUAL = 0.4, 0.18, 2.0
"""Columns without ink between two words: `SURE` heights of the line, or `LIKELY` heights and `UNUSUAL` times
the median gap between letters. On 49 handwriting fonts one word in 400 has such a gap inside; a third of
pairs of words has none, and passes for a word."""
LINE = 0.3
"""What is lower than this share of the highest line is no line, but dots and accents."""


def ink_of(clean: np.ndarray) -> np.ndarray:
    """bool [h, w], where there is ink, specks left out."""
    ink = clean < DARK
    labels, count = ndimage.label(ink, structure=np.ones((3, 3)))
    if not count:
        return ink
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.flatnonzero(sizes >= max(3, SPECK * sizes.max())) + 1
    found: np.ndarray = np.isin(labels, kept)
    return found


def lines_of(ink: np.ndarray) -> list[slice]:
    """Rows of each line of ink, from above."""
    bands = runs(ink.any(1), 0)
    highest = max(band.stop - band.start for band in bands)
    joined = runs(ink.any(1), round(LINE_GAP * highest))
    highest = max(band.stop - band.start for band in joined)
    return [band for band in joined if band.stop - band.start >= LINE * highest]


def words_of(line: np.ndarray) -> list[slice]:
    """Columns of each word of a line of ink [h, w], from the left."""
    rows = np.flatnonzero(line.any(1))
    high = int(rows[-1] - rows[0]) + 1
    between = np.diff(np.flatnonzero(line.any(0))) - 1
    usual = float(np.median(between[between > 0])) if (between > 0).any() else 0.0
    return runs(line.any(0), round(min(SURE * high, max(LIKELY * high, UNUSUAL * usual))))


def runs(there: Any, gap: int) -> list[slice]:
    """Stretches of true values of an array [n]; those with at most `gap` false ones between them are one."""
    places = np.flatnonzero(there)
    cuts = np.flatnonzero(np.diff(places) > gap + 1)
    starts, ends = [0, *(cuts + 1)], [*cuts, len(places) - 1]
    return [slice(int(places[a]), int(places[b]) + 1) for a, b in zip(starts, ends, strict=True)]
