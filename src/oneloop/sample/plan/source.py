"""The order in which a plan reads data rows: shuffled, in file order or by a curriculum, for a number of
epochs.

Not a part: the plan's own slot around whatever `data` part the recipe names. Its state is one integer, and
what a curriculum has learned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from oneloop.core import draws
from oneloop.core.protocols import Data
from oneloop.sample.data.checked import BadRows, Check, OnBadRow, place_of, unchecked, usable
from oneloop.sample.data.held_out import is_held_out
from oneloop.sample.plan.curriculum import Classes, Curriculum

IN_MEMORY = 2**20
"""Most rows for which a shuffled order is kept as a list; larger orders are computed place by place."""
ROUNDS = 4


class Source:
    """Hands out (key, row) one at a time, without the bad rows when `on_bad_row` is skip, and without the
    share `held_out` of all prompts, which are kept for evaluation.

    The order of epoch e is a function of (seed, e) alone, so a resumed run continues in the same order; under
    a curriculum it depends on what was learned as well. Raises ValueError when the data is empty.
    """

    def __init__(
        self,
        data: Data,
        shuffle: bool,
        epochs: int | None,
        seed: int,
        check: Check = unchecked,
        on_bad_row: OnBadRow = "stop",
        held_out: float = 0.0,
        curriculum: Curriculum | None = None,
    ):
        if len(data) == 0:
            raise ValueError("plan.data has no rows")
        self.data, self.shuffle, self.epochs, self.seed = data, shuffle, epochs, seed
        self.check, self.on_bad_row, self.held_out = check, on_bad_row, held_out
        self.handed_out = 0
        self.classes: Classes | None = None
        if curriculum is not None:
            self.classes = curriculum.classes(data, seed, shuffle, held_out, on_bad_row)
        self._epoch: tuple[int, np.ndarray | range | Scattered] = (-1, range(0))

    @property
    def exhausted(self) -> bool:
        """Whether all epochs have been handed out."""
        return self.epochs is not None and self.handed_out >= self.epochs * len(self.data)

    def next(self) -> tuple[int, dict[str, Any]] | None:
        """The next (key, row), or None when all epochs are over. Raises BadRows naming a row that is bad."""
        first: ValueError | None = None
        for _ in range(2 * len(self.data)):  # the good row of one epoch may come first, that of the next last
            if self.exhausted:
                return None
            key = self._next_key()
            try:
                row = usable(self.data, key, self.check)
                if not is_held_out(row, self.held_out):
                    return key, row
                first = first or ValueError(f"{place_of(self.data, key)} is held out (evaluate.held_out)")
            except ValueError as error:
                if self.on_bad_row == "stop":
                    raise BadRows(f"{error} (on_bad_row: skip leaves such rows out)") from error
                first = first or error
        raise BadRows(f"plan.data has no row that can be used: {first}") from first

    def _next_key(self) -> int:
        if self.classes is not None:
            self.handed_out += 1
            return self.classes.next(self.handed_out - 1)
        epoch, position = divmod(self.handed_out, len(self.data))
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        self.handed_out += 1
        return int(self._epoch[1][position])

    def state_dict(self) -> dict[str, Any]:
        """How many rows were handed out, and the state of the curriculum."""
        return {
            "handed_out": self.handed_out,
            "classes": None if self.classes is None else self.classes.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken, with the same data, seed and curriculum."""
        self.handed_out = state["handed_out"]
        if self.classes is not None:
            self.classes.load_state_dict(state["classes"])

    def _order(self, epoch: int) -> "np.ndarray | range | Scattered":
        size, key = len(self.data), int(draws.mix(self.seed, "order", epoch))
        if not self.shuffle:
            return range(size)
        if size > IN_MEMORY:
            return Scattered(size, key)
        return np.random.Generator(np.random.Philox(key=key)).permutation(size)


class Scattered:
    """A shuffled order of 0..size-1 that is computed, not stored.

    A Feistel network over the bits of a place, applied again while the result lies outside (Black and
    Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
    """

    def __init__(self, size: int, key: int):
        self.size, self.key = size, key
        self._half = (max(size - 1, 1).bit_length() + 1) // 2

    def __getitem__(self, place: int) -> int:
        """The number at `place` of the order; every number occurs once."""
        value = self._mixed(place)
        while value >= self.size:
            value = self._mixed(value)
        return value

    def _mixed(self, value: int) -> int:
        mask = (1 << self._half) - 1
        left, right = value >> self._half, value & mask
        for turn in range(ROUNDS):
            left, right = right, left ^ (int(draws.mix(self.key, turn, right)) & mask)
        return (left << self._half) | right
