"""Questions about sums of two numbers, as one asks a chat model: small models get them wrong, and soon right.

Every pair is a question of training or a held-out one, never both, and a pair and its mirror (3 + 4, 4 + 3)
are on one side: what is measured on held-out questions was never trained. All pairs come once before any
comes again.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part

PLACES = ("{a}", "{b}")
HELD_OUT = 0.2
"""Share of the pairs that are held out."""


@part()
class Sums:
    """Rows `prompt` (one chat message of the user), `answer`, `a`, `b`."""

    chat: ClassVar[bool] = True

    split: Literal["train", "test"] = "train"
    """train: the pairs to learn from; test: the held-out fifth."""
    smallest: Annotated[int, Field(ge=0)] = 0
    """The smallest number in a sum."""
    largest: Annotated[int, Field(ge=1, le=999)] = 9
    """The largest number in a sum."""
    size: Annotated[int, Field(ge=1)] = 1000
    """Number of rows; they are made when asked for."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed gives the pairs in another order; the pairs of a split stay."""
    prompt: str = "What is {a} + {b}?"
    """Text of the question, with {a} and {b} where the numbers go."""

    def __post_init__(self) -> None:
        if missing := [place for place in PLACES if place not in self.prompt]:
            raise ValueError(f"prompt must contain {' and '.join(missing)}, got {self.prompt!r}")
        if self.smallest > self.largest:
            raise ValueError(f"smallest must be at most largest = {self.largest}, got {self.smallest}")
        if not len(self._pairs):
            raise ValueError(f"numbers of {self.smallest} to {self.largest} leave no pair for '{self.split}'")

    @cached_property
    def _pairs(self) -> np.ndarray:
        """[p, 2], the pairs of the split, in the order of the seed."""
        numbers = np.arange(self.smallest, self.largest + 1)
        pairs = np.stack(np.meshgrid(numbers, numbers, indexing="ij"), -1).reshape(-1, 2)
        low, high = pairs.min(1), pairs.max(1)
        held_out = draws.uniforms(draws.mix(0, "sums", low, high), 0) < HELD_OUT
        chosen = pairs[held_out == (self.split == "test")]
        order = np.argsort(draws.uniforms(draws.mix(self.seed, "order", chosen[:, 0], chosen[:, 1]), 0))
        ordered: np.ndarray = chosen[order]
        return ordered

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number, the same always. Raises IndexError outside 0..size-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: there are {self.size} rows")
        a, b = self._pairs[key % len(self._pairs)].tolist()
        question = self.prompt.replace("{a}", str(a)).replace("{b}", str(b))
        return {
            "prompt": [{"role": "user", "content": question}],
            "answer": str(a + b),
            "a": a,
            "b": b,
        }
