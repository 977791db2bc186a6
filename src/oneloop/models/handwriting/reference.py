"""A picture of somebody's handwriting, as a user has it, made ready: [1, H, w], paper 1 and ink 0.

    read      any mode and file Pillow opens; turned as its EXIF data say, what is transparent is paper
    flatten   each colour over its paper, which is measured around each place: uneven light and coloured paper
              become white; the colour in which the ink is darkest counts
    refuse    no ink, ink lighter than paper (unless `invert`), several lines or words (unless `crop`), fewer
              than 16 pixels
    cut       to the ink with a margin of paper, scaled to H pixels of height; below 64 pixels it warns

Every refusal is a ValueError with what to do.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from oneloop.core.extras import MissingExtra
from oneloop.core.pictures import picture
from oneloop.models.handwriting.layout import ink_of, lines_of, words_of

SMALLEST, GOOD = 16, 64
"""Pixels of height below which a picture is refused, and below which it is blurred by scaling."""
WORKING = 32
"""Height at which paper is measured."""
CONTRAST = 0.12
"""Ink is darker than its paper by at least this share of the paper's brightness."""
MARGIN = 0.06
"""Paper around the ink, in heights of the ink."""


def reference(
    image: Any, height: int = 64, invert: bool = False, crop: bool = False, where: str = "the reference"
) -> np.ndarray:
    """float32 [1, height, w] of `image`: a path, a Pillow picture or an array.

    `invert`: its ink is lighter than its paper. `crop`: of several words the widest is taken, with a warning.
    Raises ValueError, naming `where` or the file.
    """
    if isinstance(image, str | Path):
        where, image = str(image), opened(Path(image))
    pixels = picture(image, where)
    if min(pixels.shape[1:]) < SMALLEST:
        raise ValueError(
            f"{where} is {pixels.shape[2]} x {pixels.shape[1]} pixels; a word needs at least {SMALLEST} of "
            f"each, and looks best from {GOOD} pixels of height on"
        )
    if invert:
        pixels = 1 - pixels
    elif lighter_ink(small := shrunk(pixels.mean(0), WORKING), paper_around(small)):
        raise ValueError(
            f"{where} shows ink that is lighter than its paper; if this is so, say that it is to be inverted"
        )
    clean = flattened(pixels, where)
    return scaled(one_word(clean, crop, where), height, where)[None]


def opened(path: Path) -> Any:
    """The picture in a file. Raises ValueError, naming the file, when it cannot be read."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("handwriting", "pillow", "images") from error
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None


def lighter_ink(grey: np.ndarray, paper: np.ndarray | float) -> bool:
    """Whether what stands out of the `paper` of `grey` [h, w] is lighter than it."""
    stands_out = grey - paper
    # cubes: a few strong pixels of ink count, many weak ones of uneven paper do not
    return bool((stands_out**3).sum() > 0 and stands_out.max() > CONTRAST / 2)


def paper_around(small: np.ndarray) -> np.ndarray:
    """The paper at each place of a shrunk picture: the median around it, whatever colour the ink has."""
    found: np.ndarray = ndimage.median_filter(small, size=(WORKING - 1, WORKING - 1), mode="nearest")
    return found


def flattened(pixels: np.ndarray, where: str) -> np.ndarray:
    """float64 [h, w], paper about 1 and ink down to 0, of pixels [c, h, w] with dark ink.

    Raises ValueError for a picture without ink.
    """
    over = np.stack([over_paper(channel) for channel in pixels.astype(np.float64)])
    grey = over[np.argmin([np.quantile(channel, 0.01) for channel in over])]
    smooth = ndimage.uniform_filter(grey, 3, mode="nearest")
    paper = float(np.quantile(smooth, 0.75))
    darkest = float(np.quantile(smooth, 0.001))
    if paper - darkest < CONTRAST * paper:
        raise ValueError(f"{where} shows no ink: nothing is darker than the paper by {CONTRAST:.0%}")
    dark = float(np.quantile(grey, 0.001))
    # paper's own noise is cut off, so that it is white as in the data models learn from
    white = paper - 0.15 * (paper - dark)
    flat: np.ndarray = ((grey - dark) / (white - dark)).clip(0, 1)
    return flat


def over_paper(channel: np.ndarray) -> np.ndarray:
    """A channel [h, w] over the brightness of the paper at each place."""
    small = shrunk(channel, WORKING)
    bright = ndimage.percentile_filter(small, 80, size=(WORKING - 1, WORKING - 1), mode="nearest")
    even = ndimage.gaussian_filter(bright, WORKING / 4, mode="nearest")
    zoom = [full / part for full, part in zip(channel.shape, even.shape, strict=True)]
    paper = ndimage.zoom(even, zoom, order=1, mode="nearest", grid_mode=True)
    found: np.ndarray = (channel / np.maximum(paper, 1e-3)).clip(0, 1.5)
    return found


def shrunk(grey: np.ndarray, height: int) -> np.ndarray:
    """`grey` at most `height` pixels high, by means over squares of pixels."""
    step = max(1, round(len(grey) / height))
    rows, columns = (size // step * step for size in grey.shape)
    if not columns:
        return grey
    found: np.ndarray = grey[:rows, :columns].reshape(rows // step, step, -1, step).mean((1, 3))
    return found


def one_word(clean: np.ndarray, crop: bool, where: str) -> np.ndarray:
    """The box of the only word in `clean`, with a margin of paper.

    Raises ValueError for several lines or words, unless `crop`.
    """
    ink = ink_of(clean)
    if not ink.any():
        raise ValueError(f"{where} shows no ink but specks")
    lines = lines_of(ink)
    if len(lines) > 1 and not crop:
        raise ValueError(
            f"{where} shows about {len(lines)} lines; cut it to one word, or ask for it to be cropped"
        )
    rows = max(lines, key=lambda line: int(ink[line].sum()))
    found = words_of(ink[rows])
    if len(found) > 1 and not crop:
        raise ValueError(
            f"{where} shows about {len(found)} words; cut it to one word, or ask for it to be cropped"
        )
    columns = max(found, key=lambda word: word.stop - word.start)
    if len(lines) > 1 or len(found) > 1:
        at = f"{columns.start}, {rows.start} to {columns.stop}, {rows.stop}"
        warnings.warn(f"{where} shows several words; the widest is used, pixels {at}", stacklevel=4)
    inside = np.flatnonzero(ink[rows, columns].any(1))
    top, bottom = rows.start + int(inside[0]), rows.start + int(inside[-1]) + 1
    margin = max(1, round(MARGIN * (bottom - top)))
    room = np.pad(clean, margin, constant_values=1.0)
    return room[top : bottom + 2 * margin, columns.start : columns.stop + 2 * margin]


def scaled(word: np.ndarray, height: int, where: str) -> np.ndarray:
    """float32 [height, w] of a word [h, v], at least `SMALLEST` wide by paper on its right."""
    from PIL import Image

    if len(word) < SMALLEST:
        raise ValueError(f"{where}: the word is {len(word)} pixels high; at least {SMALLEST} are needed")
    if len(word) < min(GOOD, height):
        warnings.warn(
            f"{where}: the word is {len(word)} pixels high and is scaled up to {height}, so its strokes are "
            "blurred",
            stacklevel=4,
        )
    width = max(1, round(word.shape[1] * height / len(word)))
    image = Image.fromarray(word.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    found = np.asarray(image, dtype=np.float32).clip(0, 1)
    return np.pad(found, ((0, 0), (0, max(0, SMALLEST - width))), constant_values=1.0)
