"""Choose the class of the next prompt by a law of draws: a curriculum by any column of the data.

    class k ~ draw        then the next row of class k, in an order shuffled anew whenever the class is used
    up

With `progress` the classes come more often whose rewards still rise: easy prompts first, and hard ones when
they begin to be solved. `uniform` gives every class the same share, however many rows it has; without a
curriculum a class has the share of its rows. `plan.epochs` counts rows handed out, so that rows of a class
that is drawn more often than it is large come again before the others are used up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from numbers import Real
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import Of, part
from oneloop.core.protocols import Chances, Data
from oneloop.core.rollouts import Rollouts
from oneloop.core.rooms import nearest
from oneloop.sample.data.checked import BadRows, OnBadRow, place_of
from oneloop.sample.data.held_out import is_held_out
from oneloop.sample.plan.draw.progress import Progress

MOST = 64
"""Classes of a column that holds no numbers."""


@part(paper="arXiv 2307.08300")
class Curriculum:
    """Draws prompts by the class that a column of their data row puts them in."""

    by: str
    """Column of the data, whose values are the classes; a dot reaches into it: metadata.num_digits."""
    draw: Annotated[Any, Of("draw")] = field(default_factory=Progress)
    """How likely each class is: progress, uniform or weighted."""
    bins: Annotated[int, Field(ge=2)] = 8
    """A column with more different numbers than this is cut into so many classes of like size."""

    def classes(
        self, data: Data, seed: int, shuffle: bool, held_out: float = 0.0, on_bad_row: OnBadRow = "stop"
    ) -> "Classes":
        """The rows of `data` by class, without the share `held_out` of all prompts. All rows are read once.

        Raises BadRows, naming the row, where one cannot be read or has no such column, unless such rows are
        skipped.
        """
        keys, values = [], []
        for key in range(len(data)):
            try:
                row = data[key]
                if not is_held_out(row, held_out):
                    values.append(self._value(row, place_of(data, key)))
                    keys.append(key)
            except ValueError as error:
                if on_bad_row == "stop":
                    raise BadRows(f"{error} (on_bad_row: skip leaves such rows out)") from error
        labels, place = self._labels(values)
        of = np.full(len(data), -1)
        of[keys] = place
        return Classes(labels, of, self.draw.chances(list(range(len(labels)))), seed, shuffle)

    def _value(self, row: Mapping[str, Any], where: str) -> Any:
        value: Any = row
        for name in self.by.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, Real | str) and value == value:  # not NaN
            return value
        if self.by.partition(".")[0] not in row:
            raise ValueError(
                f"plan.curriculum.by: {where} has no column '{self.by}'; {nearest(self.by, list(row))}"
            )
        raise ValueError(
            f"plan.curriculum.by: {where} has {value!r:.80} in '{self.by}'; numbers or texts are needed"
        )

    def _labels(self, values: Sequence[Any]) -> tuple[list[str], NDArray[np.int64]]:
        """(name of each class, the class [rows] of each value)."""
        if not values:
            raise BadRows("plan.curriculum: no row of the data can be used, or all are held out")
        numeric = all(isinstance(value, Real) for value in values)
        known, place = np.unique(
            np.array(values if numeric else [str(value) for value in values]), return_inverse=True
        )
        if numeric and len(known) > self.bins:
            shares = np.arange(1, self.bins) / self.bins
            # a value that many rows have is a class of its own
            largest = np.unique(np.quantile(values, shares, method="inverted_cdf"))
            place = np.searchsorted(largest, np.array(values), "left")
            there, place = np.unique(place, return_inverse=True)
            lowest = [
                min(value for value, at in zip(values, place, strict=True) if at == k)
                for k in range(len(there))
            ]
            return [f"{low:g}.." for low in lowest], place
        if len(known) > MOST:
            raise ValueError(
                f"plan.curriculum.by: '{self.by}' has {len(known)} different texts, at most {MOST} can be "
                "classes; take a column of numbers, which is cut into bins"
            )
        return [f"{value:g}" if numeric else str(value) for value in known], place


class Classes:
    """Rows by class, and the law by which the next class is drawn. of: int64 [rows], -1: never handed out."""

    def __init__(self, labels: list[str], of: NDArray[np.int64], chances: Chances, seed: int, shuffle: bool):
        self.labels, self.of, self.chances, self.seed, self.shuffle = labels, of, chances, seed, shuffle
        self.handed_out = [0] * len(labels)
        self._rows = [np.flatnonzero(of == k) for k in range(len(labels))]
        self._ordered = [(-1, rows) for rows in self._rows]

    def next(self, number: int) -> int:
        """The row to hand out as the one of that number; numbers grow."""
        k = int(self.chances.draw(int(draws.mix(self.seed, "curriculum") >> np.uint64(1)), number))
        rows = self._rows[k]
        epoch, place = divmod(self.handed_out[k], len(rows))
        self.handed_out[k] += 1
        if self.shuffle and self._ordered[k][0] != epoch:
            hashed = draws.uniforms(draws.mix(self.seed, "order", epoch), rows)
            self._ordered[k] = epoch, rows[np.argsort(hashed, kind="stable")]
        return int(self._ordered[k][1][place])

    def learn(self, judged: Rollouts) -> None:
        """Tells the law of draws what came of them."""
        self.chances.learn(self.of[judged.key.numpy()], judged)

    def after_update(self, batch: Rollouts) -> None:
        """Tells the law of draws what was learned from."""
        self.chances.after_update(self.of[batch.key.numpy()], batch)

    def metrics(self) -> dict[str, float]:
        """See `oneloop.core.protocols.Measured`."""
        return self.chances.metrics("draw/prompts", self.labels)

    def state_dict(self) -> dict[str, Any]:
        """Rows handed out of each class, and what the law of draws has learned."""
        return {"handed_out": self.handed_out, "chances": self.chances.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.handed_out = list(state["handed_out"])
        self.chances.load_state_dict(state["chances"])
