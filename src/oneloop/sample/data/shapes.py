"""Captioned scenes: one to three shapes of one colour along one edge, and sometimes a written word.

A row is `prompt` (the caption), `image` float32 [3, size, size] in [0, 1], and what the caption says as
columns: `count`, `colour`, `shape`, `position`, `word`. Judge `scene` reads them back from a picture. Rows
are a function of (seed, key): nothing is stored.
"""

from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.measure import scenes


@part()
class Shapes:
    """`size` captioned scenes of `image_size` pixels a side, drawn on access."""

    size: Annotated[int, Field(ge=1)] = 4096
    """Number of rows."""
    image_size: Annotated[int, Field(ge=8)] = 32
    """Height and width of an image, in pixels."""
    most: Annotated[int, Field(ge=1, le=3)] = 3
    """Most objects in a scene."""
    colours: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(scenes.COLOURS)
    """Colours of the objects."""
    shapes: Annotated[tuple[str, ...], Field(min_length=1)] = scenes.SHAPES
    """Shapes of the objects."""
    words: tuple[str, ...] = ()
    """Words that are written in some of the scenes; empty: in none."""
    worded: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the scenes with a word, if `words` are given."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the rows."""

    def __post_init__(self) -> None:
        for name, known in (("colours", tuple(scenes.COLOURS)), ("shapes", scenes.SHAPES)):
            if unknown := [value for value in getattr(self, name) if value not in known]:
                raise ValueError(f"{name} has {unknown}; known: {', '.join(known)}")
        if unwritable := [word for word in self.words if not scenes.is_word(word)]:
            raise ValueError(f"words must be letters and digits, got {unwritable}")

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: there are {self.size} scenes")
        if key not in self._drawn:
            drawn = draws.uniforms(draws.mix(self.seed, "scene", key), np.arange(13))
            scene = self._scene(drawn)
            columns = {name: getattr(scene, name) for name in scenes.CRITERIA}
            image = scenes.draw(scene, self.image_size, drawn[6:])
            self._drawn[key] = {"prompt": scene.caption, "image": image, **columns}
        return self._drawn[key]

    def _scene(self, drawn: np.ndarray) -> scenes.SceneOrder:
        def one(among: tuple[str, ...], draw: float) -> str:
            return among[int(draw * len(among))]

        word = one(self.words, drawn[4]) if self.words and drawn[5] < self.worded else ""
        return scenes.SceneOrder(
            1 + int(drawn[0] * self.most),
            one(self.colours, drawn[1]),
            one(self.shapes, drawn[2]),
            one(scenes.POSITIONS, drawn[3]),
            word,
        )

    @cached_property
    def _drawn(self) -> dict[int, dict[str, Any]]:
        return {}
