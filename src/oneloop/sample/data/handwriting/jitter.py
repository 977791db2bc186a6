"""How two words of one font differ: a font has no variation of its own, so this one is stated here.

    shear      degrees, uniform in +-shear, about the middle line
    scale      size times 1 + uniform in +-scale
    elastic    a smooth random shift of each place, of this standard deviation in heights
    dilation   strokes grow by up to one pixel at 64 pixels of height: weight uniform in [0, dilation]
    texture    paper and ink are darker by a smooth random share of up to texture
    noise      standard deviation of normal noise of each pixel

Semi-synthetic: real writers vary in more ways, above all in the shapes of their letters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

WORKING_HEIGHT = 64
"""Words are drawn and bent at least this many pixels high, then shrunk."""
MARGIN = 2 / 64
"""Paper left and right of a word, in heights."""
INK = 0.95
"""A pixel below this is ink, in a picture without noise."""
WAVES = 3
"""Independent shifts along the height of a word."""
PATCH = 6
"""Pixels between two independent shades of paper."""


@dataclass(frozen=True)
class Jitter:
    """How much words vary; all 0: not at all."""

    shear: float = 0.0
    """Most degrees of shear."""
    scale: float = 0.0
    """Most relative change of size."""
    elastic: float = 0.0
    """Standard deviation of local shifts, in heights."""
    dilation: float = 0.0
    """Most weight of strokes a pixel wider."""
    texture: float = 0.0
    """Most darkening of paper."""
    noise: float = 0.0
    """Standard deviation of pixel noise."""


def jittered(word: np.ndarray, height: int, jitter: Jitter, random: np.random.Generator) -> np.ndarray:
    """float32 [height, w] of a word [factor * height, v] with paper 1 and ink 0: bent, cut to its ink with a
    margin of paper, shrunk, and on paper of its own.
    """
    factor = len(word) // height
    bent = cut(_bent(word, jitter, random), factor)
    small = bent.reshape(height, factor, -1, factor).mean((1, 3))
    return _on_paper(small, jitter, random)


def cut(word: np.ndarray, multiple: int) -> np.ndarray:
    """The columns of `word` with ink, and a margin of paper; their number is a multiple of `multiple`."""
    columns = np.flatnonzero((word < INK).any(0))
    margin = max(1, round(MARGIN * len(word)))
    kept = word[:, columns[0] : columns[-1] + 1] if len(columns) else word[:, :1]
    behind = margin + -(kept.shape[1] + 2 * margin) % multiple
    return np.pad(kept, ((0, 0), (margin, behind)), constant_values=1.0)


def _bent(word: np.ndarray, jitter: Jitter, random: np.random.Generator) -> np.ndarray:
    """`word` after shear, scale, local shifts and dilation, with room at both sides; all draws are made
    always, so that a strength of 0 changes no other draw.
    """
    shear, scale, thick = random.uniform((-1, -1, 0), (1, 1, 1))
    height = len(word)
    room = math.ceil(height * (0.5 * math.tan(math.radians(jitter.shear)) + 3 * jitter.elastic)) + 2
    room += math.ceil(jitter.scale * word.shape[1] / 2)
    wide = np.pad(word, ((0, 0), (room, room)), constant_values=1.0)
    row, column = np.meshgrid(*(np.arange(size, dtype=np.float64) for size in wide.shape), indexing="ij")
    middle = ((height - 1) / 2, (wide.shape[1] - 1) / 2)
    size = 1 + jitter.scale * scale
    up, along = (row - middle[0]) / size, (column - middle[1]) / size
    along = along + math.tan(math.radians(jitter.shear * shear)) * up
    shifts = [_smooth(wide.shape, height / WAVES, lambda size: normal(random, size)) for _ in range(2)]
    places = [up + middle[0], along + middle[1]]
    places = [at + jitter.elastic * height * shift for at, shift in zip(places, shifts, strict=True)]
    bent = wide if jitter == Jitter(texture=jitter.texture, noise=jitter.noise) else _sampled(wide, places)
    grown = ndimage.minimum_filter(bent, 3)
    weight = jitter.dilation * thick * height / WORKING_HEIGHT
    thicker: np.ndarray = bent + min(1.0, weight) * (grown - bent)
    return thicker


def normal(random: np.random.Generator, size: list[int]) -> np.ndarray:
    """Normal draws within three standard deviations, so that a word's width has a bound."""
    drawn: np.ndarray = random.standard_normal(size).clip(-3, 3)
    return drawn


def _sampled(image: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    found: np.ndarray = ndimage.map_coordinates(image, places, order=1, mode="constant", cval=1.0)
    return found


def _smooth(shape: tuple[int, ...], patch: float, draw: Callable[[list[int]], np.ndarray]) -> np.ndarray:
    """Random values of that shape, drawn every `patch` pixels and linear between."""
    rows, columns = (max(2, math.ceil(size / patch) + 1) for size in shape)
    drawn = _between(draw([rows, columns]), shape[0])
    return _between(drawn.T, shape[1]).T


def _between(grid: np.ndarray, size: int) -> np.ndarray:
    """`size` rows, linear between the rows of `grid`."""
    places = np.linspace(0, len(grid) - 1, size)
    lower = np.minimum(places.astype(int), len(grid) - 2)
    share = (places - lower)[:, None]
    return np.asarray(grid[lower] * (1 - share) + grid[lower + 1] * share)


def _on_paper(word: np.ndarray, jitter: Jitter, random: np.random.Generator) -> np.ndarray:
    """`word` on paper of its own, clipped to [0, 1]."""
    if jitter.texture:
        word = word * (1 - jitter.texture * _smooth(word.shape, PATCH, random.random))
    if jitter.noise:
        word = word + jitter.noise * random.standard_normal(word.shape)
    return np.asarray(word.clip(0, 1), dtype=np.float32)
