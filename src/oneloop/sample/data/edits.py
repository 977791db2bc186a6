"""Image editing tasks: a region of an image is masked, and the policy fills it as the task says.

    condition [C + 1, H, W] = (source * (1 - mask), mask)        mask 1 where something is to be generated

The tasks of OneReward (arXiv 2508.21066) over any data with an `image`:

    fill     a box, with what another row's prompt says
    extend   the border around a part that is kept, by its own prompt
    remove   a box, under one fixed prompt
    text     the place of a written word (data `shapes` with words), or the box around the ink, by its own
    prompt
    given    masks, prompts and tasks of your own: columns `mask`, `prompt`, `task` beside `image`

A row has `task`, `prompt`, `condition`, `source`, `mask` and `image` (the source, which a warm start learns),
and the columns of the row whose prompt it has. Boxes are a function of (seed, key).
"""

import warnings
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import Of, part
from oneloop.core.pictures import picture
from oneloop.measure import scenes

Task = Literal["fill", "extend", "remove", "text", "given"]
OWN_PROMPT = ("extend", "text", "given")


@part(paper="arXiv 2508.21066")
class Edits:
    """One editing task over the rows of other data; `mixture` combines several tasks."""

    of: Annotated[Any, Of("data")]
    """Data with the images to edit and their prompts."""
    task: Task = "fill"
    """Editing task: fill, extend, remove, text or given."""
    asked: Literal["own", "another"] | None = None
    """Prompt of a row: the image's own, or another row's; None: as the task prescribes. A warm start needs
    own."""
    removal_prompt: Annotated[str, Field(min_length=1)] = "remove the specified object"
    """Prompt of the task remove."""
    smallest: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Smallest side of a box, as a share of the image's."""
    largest: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Largest side of a box, as a share of the image's."""
    border: Annotated[float, Field(gt=0, lt=0.5)] = 0.25
    """Width of the border that the task extend masks, as a share of the image's side."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the boxes, and of the rows whose prompts are used with another row's image."""

    def __post_init__(self) -> None:
        if self.largest < self.smallest:
            raise ValueError(f"largest must be at least smallest ({self.smallest}), got {self.largest}")

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1, ValueError for an empty mask."""
        row = self.of[key]
        drawn = draws.uniforms(draws.mix(self.seed, "edit", self.task, key), np.arange(5))
        if row.get("image") is None:
            raise ValueError(f"plan.data.edits: row {key} has no 'image'; its columns: {', '.join(row)}")
        source = picture(row["image"], f"plan.data.edits: row {key}")
        mask = binary(self._mask(row, source, drawn, key), key)
        asked = self.asked or ("own" if self.task in OWN_PROMPT else "another")
        told = dict(row if asked == "own" else self.of[int(drawn[4] * len(self.of))])
        if self.task == "remove":
            told = {**row, "prompt": self.removal_prompt}
        task = row.get("task") if self.task == "given" else self.task
        condition = np.concatenate([source * (1 - mask), mask])
        return {**told, "task": task, "image": source, "source": source, "mask": mask, "condition": condition}

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the edits and of the data they are made of."""
        return of_rows(self, SPREAD, [self.of])

    def _mask(self, row: dict[str, Any], source: np.ndarray, drawn: np.ndarray, key: int) -> np.ndarray:
        height, width = source.shape[1:]
        if self.task == "given":
            if row.get("mask") is None:
                raise ValueError(f"plan.data.edits: row {key} has no 'mask'; its columns: {', '.join(row)}")
            return picture(row["mask"], f"plan.data.edits: the mask of row {key}")[:1]
        mask = np.zeros((1, height, width), dtype=np.float32)
        if self.task == "extend":
            rows, columns = (max(1, round(self.border * side)) for side in (height, width))
            mask += 1
            mask[:, rows : height - rows, columns : width - columns] = 0
        elif self.task == "text":
            top, left, bottom, right = written(row, source)
            mask[:, top:bottom, left:right] = 1
        else:
            (top, tall), (left, wide) = (
                self._span(height, drawn[0], drawn[2]),
                self._span(width, drawn[1], drawn[3]),
            )
            mask[:, top : top + tall, left : left + wide] = 1
        return mask

    def _span(self, side: int, size: float, place: float) -> tuple[int, int]:
        """(start, length) in pixels of a box along a side; `size` and `place` are draws in [0, 1)."""
        least, most = max(1, round(self.smallest * side)), max(1, round(self.largest * side))
        length = least + int(size * (most - least + 1))
        return int(place * (side - length + 1)), length


def binary(mask: np.ndarray, key: int) -> np.ndarray:
    """`mask` [1, H, W] rounded to zeros and ones, 1 where pixels are to be generated; all ones is legal.

    Warns when it has other values than 0 and 1; raises ValueError when nothing is masked.
    """
    hard = (mask > 0.5).astype(np.float32)
    if not np.array_equal(hard, mask):
        warnings.warn(
            f"plan.data.edits: the mask of row {key} is not 0 or 1 everywhere; cut at .5", stacklevel=3
        )
    if not hard.any():
        raise ValueError(
            f"plan.data.edits: the mask of row {key} is empty: there is nothing to generate (1 means "
            "generate; is "
            f"it the wrong way round?)"
        )
    return hard


def written(row: dict[str, Any], source: np.ndarray) -> tuple[int, int, int, int]:
    """Box (top, left, bottom, right) of the word in a row of `shapes`, else of all ink in `source`."""
    if row.get("word"):
        scene = scenes.scene_of(row)
        (top, left), (tall, wide) = scenes.word_place(scene, source.shape[1]), scenes.glyphs(scene.word).shape
        return max(top - 1, 0), max(left - 1, 0), top + tall + 1, left + wide + 1
    if "word" in row:
        return 0, 0, 0, 0
    ink = source.max(0) > 0.1
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
