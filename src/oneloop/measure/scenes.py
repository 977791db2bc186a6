"""Captioned scenes of a few coloured shapes and a written word, drawn with Pillow and read back with scipy.

A small stand-in for compositional evaluation suites such as GenEval (arXiv 2310.11513): an object is counted,
coloured, shaped and placed as asked, and a word is legible, each told by its own programme from the pixels.
Every score is in [0, 1] and graded, so that an almost right picture is worth more than noise.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

COLOURS = {
    "red": (220, 40, 40),
    "green": (30, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 200, 30),
    "purple": (150, 50, 170),
}
BACKGROUND, INK = (245, 245, 245), (0, 0, 0)
SHAPES = ("circle", "square", "triangle")
POSITIONS = ("left", "right", "top", "bottom")
COUNTS = ("one", "two", "three")
CRITERIA = ("count", "colour", "shape", "position", "word")
SMALLEST = 6
"""Pixels below which a blob is no object, at 32 pixels a side."""


@dataclass(frozen=True)
class SceneOrder:
    """What a picture should show."""

    count: int
    colour: str
    shape: str
    position: str
    word: str = ""

    @property
    def caption(self) -> str:
        """The scene in words; a written word is in double quotes."""
        things = self.shape if self.count == 1 else f"{self.shape}s"
        text = f"{COUNTS[self.count - 1]} {self.colour} {things} {self.position}"
        return f'{text} and the word "{self.word}"' if self.word else text


def scene_of(row: dict[str, Any]) -> SceneOrder:
    """The scene a data row asks for. Raises KeyError naming the column that is missing."""
    return SceneOrder(int(row["count"]), row["colour"], row["shape"], row["position"], row.get("word") or "")


def draw(scene: SceneOrder, size: int, jitter: np.ndarray) -> np.ndarray:
    """float32 [3, size, size] in [0, 1]; `jitter` holds seven numbers in [0, 1) that move and size the
    objects."""
    from PIL import Image, ImageDraw

    scale = 4  # drawn larger and shrunk: smooth edges
    image = Image.new("RGB", (size * scale, size * scale), BACKGROUND)
    pen = ImageDraw.Draw(image)
    radius = (0.2, 0.125, 0.115)[scene.count - 1] * (0.9 + 0.2 * jitter[6])
    for x, y in centres(scene, radius, jitter):
        outline(pen, scene.shape, x * size * scale, y * size * scale, radius * size * scale)(
            COLOURS[scene.colour]
        )
    image = image.resize((size, size), Image.Resampling.BOX)
    pixels = np.asarray(image).copy()
    if scene.word:
        mark, (top, left) = glyphs(scene.word), word_place(scene, size)
        region = pixels[top : top + mark.shape[0], left : left + mark.shape[1]]
        region[mark[: region.shape[0], : region.shape[1]]] = INK
    return (pixels / 255).astype(np.float32).transpose(2, 0, 1)


def centres(scene: SceneOrder, radius: float, jitter: np.ndarray) -> list[tuple[float, float]]:
    """Middles (x, y) of the objects, as shares of the side: in a row along the asked edge."""
    near = radius + 0.06 + 0.06 * jitter[0]
    across = near if scene.position in ("left", "top") else 1 - near
    step = 2 * radius + 0.06
    middle = 0.5 + (jitter[1] - 0.5) * max(0.0, 0.8 - step * scene.count)
    along = [middle + step * (i - (scene.count - 1) / 2) for i in range(scene.count)]
    upright = scene.position in ("left", "right")
    return [(across, each) if upright else (each, across) for each in along]


def outline(pen: Any, shape: str, x: float, y: float, r: float) -> Any:
    """A function of the colour that draws `shape` around (x, y)."""
    if shape == "circle":
        return lambda colour: pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    if shape == "square":
        return lambda colour: pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    return lambda colour: pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)


@cache
def glyphs(word: str) -> np.ndarray:
    """bool [h, w], the word in Pillow's own bitmap font, cropped."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default_imagefont()
    canvas = Image.new("L", (8 * len(word) + 8, 16), 0)
    ImageDraw.Draw(canvas).text((2, 2), word, fill=255, font=font)
    ink = np.asarray(canvas) > 127
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def word_place(scene: SceneOrder, size: int) -> tuple[int, int]:
    """(top, left) of the word: away from the objects."""
    height, width = glyphs(scene.word).shape
    middle, gap = (size - height) // 2, 1
    places = {
        "left": (middle, size - width - gap),
        "right": (middle, gap),
        "top": (size - height - gap, (size - width) // 2),
        "bottom": (gap, (size - width) // 2),
    }
    top, left = places[scene.position]
    return max(top, 0), max(left, 0)


# reading a picture


def score(image: np.ndarray, scene: SceneOrder, criterion: str) -> float:
    """How well `image` [3, H, W] in [0, 1] meets one criterion of `scene`, in [0, 1]."""
    return float(SCORES[criterion](nearest_colour(image), scene))


def nearest_colour(image: np.ndarray) -> np.ndarray:
    """int [H, W], the place of each pixel's nearest colour in COLOURS, then background and ink."""
    palette = np.array([*COLOURS.values(), BACKGROUND, INK]) / 255
    distance = ((image[None] - palette[:, :, None, None]) ** 2).sum(1)
    return np.asarray(distance.argmin(0))


def painted(colours: np.ndarray, colour: str | None = None) -> np.ndarray:
    """bool [H, W], where `colour` is, or any colour."""
    return colours == list(COLOURS).index(colour) if colour else colours < len(COLOURS)


def blobs(mask: np.ndarray) -> list[np.ndarray]:
    """Connected parts of `mask` that are large enough to be objects."""
    from scipy import ndimage

    named, count = ndimage.label(mask)
    least = SMALLEST * mask.size / 32**2
    return [part for part in (named == i + 1 for i in range(count)) if part.sum() >= least]


def score_colour(colours: np.ndarray, scene: SceneOrder) -> float:
    """Share of what is painted that has the colour; 0 for an empty picture."""
    everything = painted(colours)
    enough = everything.sum() >= SMALLEST * colours.size / 32**2
    return float((painted(colours, scene.colour) & everything).sum() / everything.sum()) if enough else 0.0


def score_count(colours: np.ndarray, scene: SceneOrder) -> float:
    """1 for the number asked, less by its share for each object too many or too few."""
    found = len(blobs(painted(colours)))
    return max(0.0, 1 - abs(found - scene.count) / scene.count)


def score_position(colours: np.ndarray, scene: SceneOrder) -> float:
    """1 where the middle of what is painted lies a quarter off the picture's, towards the asked edge."""
    places = np.argwhere(painted(colours))
    if not len(places):
        return 0.0
    y, x = places.mean(0) / (np.array(colours.shape) - 1) - 0.5
    towards = {"left": -x, "right": x, "top": -y, "bottom": y}[scene.position]
    return float(np.clip(0.5 + 2 * towards, 0, 1))


def score_shape(colours: np.ndarray, scene: SceneOrder) -> float:
    """Mean over objects of how well each fills the asked outline in its own box, 0 where another fits
    better."""
    found = blobs(painted(colours))
    return float(np.mean([_fit(blob, scene.shape) for blob in found])) if found else 0.0


def _fit(blob: np.ndarray, shape: str) -> float:
    rows, columns = np.flatnonzero(blob.any(1)), np.flatnonzero(blob.any(0))
    box = blob[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    overlap = {}
    for name in SHAPES:
        wanted = filled(name, *box.shape)
        overlap[name] = float((box & wanted).sum() / (box | wanted).sum())
    return overlap[shape] if overlap[shape] >= max(overlap.values()) else 0.0


@cache
def filled(shape: str, height: int, width: int) -> np.ndarray:
    """bool [height, width], the outline that fills a box."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = (y + 0.5) / height, (x + 0.5) / width
    if shape == "circle":
        return np.asarray((y - 0.5) ** 2 + (x - 0.5) ** 2 <= 0.25)
    return np.ones((height, width), bool) if shape == "square" else np.abs(x - 0.5) <= y / 2


def score_word(colours: np.ndarray, scene: SceneOrder) -> float:
    """Overlap of the ink with the word at its best place; without a word asked, 1 less the share of ink."""
    ink = colours == len(COLOURS) + 1
    if not scene.word:
        return float(max(0.0, 1 - 10 * ink.mean()))
    from scipy.signal import correlate2d

    mark = glyphs(scene.word)
    if mark.shape[0] > ink.shape[0] or mark.shape[1] > ink.shape[1] or not ink.any():
        return 0.0
    hits = correlate2d(ink.astype(float), mark.astype(float), mode="valid")
    return float((hits / (ink.sum() + mark.sum() - hits)).max())


SCORES = {
    "count": score_count,
    "colour": score_colour,
    "shape": score_shape,
    "position": score_position,
    "word": score_word,
}


def is_word(word: str) -> bool:
    """Whether `word` can be written: letters and digits."""
    return bool(re.fullmatch(r"[A-Za-z0-9]+", word))
