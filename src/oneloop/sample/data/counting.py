"""Count down from a number: a task whose answer lengths have a long tail, to study scheduling.

    "12:" -> "11 10 9 8 7 6 5 4 3 2 1 0"        the number is lognormal, rounded, clipped to [1, longest]

A small model learns it in seconds, the length of an answer is tied to its prompt, and a few answers are many
times as long as the median: what reasoning models do to a synchronous sampler, at the scale of one core.
"""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.special import ndtri

from oneloop.core import draws
from oneloop.core.part import part


@part()
class Counting:
    """Rows `prompt, answer, completion`; the `verifier` judge scores them exactly."""

    size: Annotated[int, Field(ge=1)] = 10_000
    """Number of rows; each is generated on access."""
    median: Annotated[float, Field(ge=1)] = 8.0
    """Median of the number counted down from."""
    sigma: Annotated[float, Field(ge=0)] = 1.0
    """Standard deviation of the number's logarithm; 0: always the median."""
    longest: Annotated[int, Field(ge=1)] = 60
    """Largest number counted down from; larger draws are clipped to it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the numbers drawn."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..size-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key} of counting: there are {self.size} rows")
        uniform = float(draws.uniforms(draws.mix(self.seed, "counting", key), np.arange(1))[0])
        start = self.median * math.exp(self.sigma * float(ndtri(min(max(uniform, 1e-12), 1 - 1e-12))))
        number = max(1, min(self.longest, round(start)))
        answer = " ".join(str(value) for value in range(number - 1, -1, -1))
        return {"prompt": f"{number}:", "answer": answer, "completion": answer}
