"""Chances that stay as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oneloop.core.budgets import drawn
from oneloop.core.rollouts import Rollouts


class FixedChances:
    """`oneloop.core.protocols.Chances` with the same probabilities always."""

    def __init__(self, probabilities: Sequence[float] | NDArray[np.float64]):
        self.probabilities = np.asarray(probabilities, dtype=np.float64)

    def draw(self, seed: int, numbers: Any) -> NDArray[np.int64]:
        """See `oneloop.core.protocols.Chances`."""
        return drawn(self.probabilities, seed, numbers)

    def learn(self, place: NDArray[np.int64], judged: Rollouts) -> None:
        """Learns nothing."""

    def after_update(self, place: NDArray[np.int64], batch: Rollouts) -> None:
        """Learns nothing."""

    def metrics(self, name: str, labels: Sequence[str]) -> dict[str, float]:
        """None: nothing changes."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the options say all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""
