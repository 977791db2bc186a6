"""Questions about drawn pictures with answers that can be checked: how many, which colour, which digits.

    count     discs of one colour on white                     "how many discs?"        "4"
    colour    a disc of one colour among grey squares          "which colour?"          "blue"
    digits    digits of seven segments                         "which digits?"          "372"

A row is `prompt` (one message with an image part), `images` (a list with one Pillow picture), `answer`,
`completion` (the answer, to learn from) and `kind`. Rows are a function of (seed, split, key): nothing is
stored. Pictures of train and test are drawn with other random numbers and practically never the same.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.extras import MissingExtra
from oneloop.core.part import part

Kind = Literal["count", "colour", "digits"]
QUESTIONS: dict[Kind, str] = {
    "count": "how many discs?",
    "colour": "which colour?",
    "digits": "which digits?",
}
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (230, 200, 40),
    "purple": (140, 50, 170),
    "orange": (240, 130, 30),
}
GREY = (190, 190, 190)
SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
"""Segments that are lit in each digit: a above, b and c right, d below, e and f left, g in the middle."""
LINES = {
    "a": (0, 0, 1, 0),
    "b": (1, 0, 1, 1),
    "c": (1, 1, 1, 2),
    "d": (0, 2, 1, 2),
    "e": (0, 1, 0, 2),
    "f": (0, 0, 0, 1),
    "g": (0, 1, 1, 1),
}
"""Ends of each segment, in widths of a digit."""


@part()
class PictureQuestions:
    """`size` questions of the given kinds, in turn, about pictures of `image_size` pixels a side."""

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("count", "colour", "digits")
    """Kinds of question, which take turns."""
    most: Annotated[int, Field(ge=1, le=9)] = 4
    """Most discs in a picture of kind count."""
    digits: Annotated[int, Field(ge=1, le=4)] = 2
    """Digits in a picture of kind digits."""
    image_size: Annotated[int, Field(ge=16)] = 32
    """Height and width of a picture, in pixels."""
    size: Annotated[int, Field(ge=1)] = 10000
    """Number of rows; they are made when asked for."""
    split: Literal["train", "test"] = "train"
    """train: to learn from; test: held out."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the rows."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number, the same always. Raises IndexError outside 0..size-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: there are {self.size} rows")
        kind = self.kinds[key % len(self.kinds)]
        random = np.random.Generator(np.random.Philox(key=int(draws.mix(self.seed, self.split, key))))
        draw = {"count": self._count, "colour": self._colour, "digits": self._digits}[kind]
        image, answer = draw(random)
        question = [{"type": "image"}, {"type": "text", "text": QUESTIONS[kind]}]
        return {
            "prompt": [{"role": "user", "content": question}],
            "images": [image],
            "answer": answer,
            "completion": answer,
            "kind": kind,
        }

    def _count(self, random: np.random.Generator) -> tuple[Any, str]:
        image, pen = canvas(self.image_size)
        count = int(random.integers(1, self.most + 1))
        colour = list(COLOURS.values())[int(random.integers(len(COLOURS)))]
        cells = 2 if self.most <= 4 else 3
        for cell in random.permutation(cells * cells)[:count].tolist():
            pen.ellipse(inside(divmod(cell, cells), self.image_size / cells, random), fill=colour)
        return image, str(count)

    def _colour(self, random: np.random.Generator) -> tuple[Any, str]:
        image, pen = canvas(self.image_size)
        names = list(COLOURS)
        name = names[int(random.integers(len(names)))]
        cells = random.permutation(4).tolist()
        for place, cell in enumerate(cells):
            box = inside(divmod(cell, 2), self.image_size / 2, random)
            if place == 0:
                pen.ellipse(box, fill=COLOURS[name])
            elif random.random() < 0.5:
                pen.rectangle(box, fill=GREY)
        return image, name

    def _digits(self, random: np.random.Generator) -> tuple[Any, str]:
        image, pen = canvas(self.image_size)
        shown = random.integers(0, 10, self.digits).tolist()
        wide = self.image_size / self.digits
        high = min(wide, self.image_size / 2)
        for place, digit in enumerate(shown):
            left = place * wide + wide * 0.25 + float(random.uniform(-0.1, 0.1)) * wide
            top = (self.image_size - high) / 2 + float(random.uniform(-0.2, 0.2)) * high
            for segment in SEGMENTS[digit]:
                x0, y0, x1, y1 = LINES[segment]
                along = high / 2
                ends = (left + x0 * along, top + y0 * along, left + x1 * along, top + y1 * along)
                pen.line(ends, fill="black", width=max(1, self.image_size // 16))
        return image, "".join(map(str, shown))


def canvas(size: int) -> tuple[Any, Any]:
    """(a white picture, what draws on it)."""
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingExtra("plan.data.picture_questions", "pillow", "images") from error
    image = Image.new("RGB", (size, size), "white")
    return image, ImageDraw.Draw(image)


def inside(cell: tuple[int, int], side: float, random: np.random.Generator) -> tuple[float, ...]:
    """(left, top, right, bottom) of a box at random within a `cell` (row, column) of `side` pixels."""
    size = side * float(random.uniform(0.5, 0.75))
    most = max(0.5, side - size - 1.5)  # a pixel of white between two cells, so that no two things touch
    left, top = (place * side + float(random.uniform(0.5, most)) for place in (cell[1], cell[0]))
    return left, top, left + size, top + size
