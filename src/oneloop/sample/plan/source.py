"""The order in which data rows are asked: shuffled or as they come, for some number of epochs.

Not a part: the plan's own slot around whatever `data` part the recipe names. Its state is one integer.
"""

from typing import Any

import numpy as np

from oneloop.core import draws
from oneloop.core.protocols import Data


class Source:
    """Hands out (key, row) one at a time.

    The order of epoch e is a function of (seed, e) alone, so a resumed run continues in the same order.
    Raises ValueError when the data is empty.
    """

    def __init__(self, data: Data, shuffle: bool, epochs: int | None, seed: int):
        if len(data) == 0:
            raise ValueError("plan.data has no rows")
        self.data, self.shuffle, self.epochs, self.seed = data, shuffle, epochs, seed
        self.handed_out = 0
        self._epoch: tuple[int, np.ndarray | range] = (-1, range(0))

    @property
    def exhausted(self) -> bool:
        """Whether all epochs have been handed out."""
        return self.epochs is not None and self.handed_out >= self.epochs * len(self.data)

    def next(self) -> tuple[int, dict[str, Any]] | None:
        """The next (key, row), or None when all epochs are over."""
        if self.exhausted:
            return None
        epoch, position = divmod(self.handed_out, len(self.data))
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        self.handed_out += 1
        key = int(self._epoch[1][position])
        return key, self.data[key]

    def _order(self, epoch: int) -> np.ndarray | range:
        if not self.shuffle:
            return range(len(self.data))
        generator = np.random.Generator(np.random.Philox(key=int(draws.mix(self.seed, "order", epoch))))
        return generator.permutation(len(self.data))
