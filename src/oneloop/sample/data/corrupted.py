"""Demonstrations with deliberate mistakes: a share of the rows gets another row's completion.

For experiments on what an objective does with mistakes in the data (One-Token Rollout, DFT, SFT). Which rows
are wrong, and how, is a function of (seed, key), so every method meets the same mistakes. A wrong completion
always differs from the right one.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import Of, part

DRAWS = 16
"""Rows tried at random, for another completion, before they are tried one after the other."""


def completion(row: Mapping[str, Any], key: int) -> Any:
    """The `completion` of row number `key`. Raises ValueError when it has none."""
    if "completion" not in row:
        raise ValueError(f"corrupted: data row {key} has no 'completion'; its columns: {', '.join(row)}")
    return row["completion"]


@part()
class Corrupted:
    """`data` with `share` of its completions replaced; prompt and `answer` stay right."""

    data: Annotated[Any, Of("data")]
    """Data whose rows are corrupted; each needs a `completion`."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of rows that get another row's completion."""
    seed: int = 0
    """Seed that decides which rows are wrong and whose completion they get."""

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`; `corrupted` says whether its completion was replaced.

        Raises ValueError for a row without a completion, and where no row has another one.
        """
        row: dict[str, Any] = self.data[key]
        wrong, *places = draws.uniforms(draws.mix(self.seed, "corrupted", key), np.arange(1 + DRAWS)).tolist()
        if wrong >= self.share:
            return row | {"corrupted": False}
        return row | {"completion": self._another(key, row, places), "corrupted": True}

    def _another(self, key: int, row: Mapping[str, Any], places: Sequence[float]) -> Any:
        """The first other completion at `places` (in 0..1), or else after the last of them."""
        count, truth = len(self.data), completion(row, key)
        drawn = [int(place * count) for place in places]
        for other in chain(drawn, ((drawn[-1] + step) % count for step in range(1, count))):
            found = completion(self.data[other], other)
            if found != truth:
                return found
        raise ValueError(f"corrupted: all {count} rows have one completion, {truth!r}: none can be wrong")

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the corrupted rows and of the data they are made of."""
        return of_rows(self, SPREAD, [self.data])
