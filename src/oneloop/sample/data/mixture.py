"""Several data sets as one: each row comes from one of them, drawn by weight.

    row k  ~  set i with probability weight_i / sum of weights, then a row of it

The multi-task sampler of OneReward (arXiv 2508.21066: fill .5, extend .25, removal .25, hard tasks more
often). Which set, and which of its rows, is a function of (seed, k), so nothing has to be saved and a
resumed run draws what it would have drawn. Rows keep their columns; rows of different sets may have
different ones.
"""

import warnings
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import Of, Options, part
from oneloop.core.protocols import DataDefaults, trait


@part()
class Portion:
    """One data set of a mixture."""

    data: Annotated[Any, Of("data")]
    """Data part whose rows are drawn."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """How often rows are drawn from this data set, relative to the weights of the others; 0: never."""


@part(paper="arXiv 2508.21066")
class Mixture:
    """`size` rows, each drawn from one of the data sets `sets`."""

    sets: Annotated[tuple[Annotated[Portion, Options(Portion)], ...], Field(min_length=1)]
    """The data sets to mix, each {data: ..., weight: ...}."""
    size: Annotated[int, Field(ge=1)] = 4096
    """Number of rows."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the choice of data set and row."""

    def __post_init__(self) -> None:
        weights = [each.weight for each in self.sets]
        if not sum(weights) > 0:
            raise ValueError(f"sets: the weights must sum to more than 0, got {weights}")
        if abs(sum(weights) - 1) > 1e-9 and any(weight != 1 for weight in weights):
            shares = [round(weight / sum(weights), 3) for weight in weights]
            warnings.warn(
                f"plan.data.mixture: weights {weights} sum to {sum(weights):g}; taken as {shares}",
                stacklevel=2,
            )

    @property
    def chat(self) -> bool:
        """Whether prompts of some data set are messages of a chat."""
        return any(trait(each.data, DataDefaults, "chat") for each in self.sets)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: the mixture has {self.size} rows")
        which, where = draws.uniforms(draws.mix(self.seed, "mixture", key), np.arange(2))
        data = self.sets[self.chosen(float(which))].data
        row: dict[str, Any] = data[int(where * len(data))]
        return row

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the mixture and of every data set in it."""
        return of_rows(self, SPREAD, [each.data for each in self.sets])

    def chosen(self, draw: float) -> int:
        """Index in `sets` of the data set that a uniform `draw` in [0, 1) chooses."""
        ends = np.cumsum([each.weight for each in self.sets])
        return int(np.searchsorted(ends / ends[-1], draw, side="right"))
