"""Imperfect demonstrations on purpose: a share of the rows answers with another row's completion.

For experiments on what an objective does with mistakes in the data (One-Token Rollout, DFT, SFT). Which rows
are wrong, and how, is a function of (seed, key), so every method meets the same mistakes.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import Of, part


@part()
class Corrupted:
    """`data` with `share` of its completions replaced; prompt and `answer` stay right."""

    data: Annotated[Any, Of("data")]
    """The rows to corrupt; they need a `completion`."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of rows that get another row's completion."""
    seed: int = 0
    """Of the choice of rows."""

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number, the same always; `corrupted` says whether its completion was replaced."""
        row: dict[str, Any] = self.data[key]
        wrong, where = draws.uniforms(draws.mix(self.seed, "corrupted", key), np.arange(2)).tolist()
        if wrong >= self.share:
            return row | {"corrupted": False}
        other: dict[str, Any] = self.data[int(where * len(self.data))]
        return row | {"completion": other["completion"], "corrupted": True}

    def fingerprint(self) -> Fingerprint:
        """Of the corrupted rows and of the data they are made of."""
        return of_rows(self, SPREAD, [self.data])
