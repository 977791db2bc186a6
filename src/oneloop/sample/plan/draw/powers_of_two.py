"""Draw 1, 2, 4, 8, ... of a range, all equally often: short prefixes get as many draws as long ones."""

from collections.abc import Sequence

import numpy as np

from oneloop.core.part import part
from oneloop.sample.plan.draw.fixed import FixedChances


@part()
class PowersOfTwo:
    """Equal probabilities for the powers of two among the choices, and for the largest choice."""

    def chances(self, choices: Sequence[float]) -> FixedChances:
        """Those of `choices` [K]; 0 for what is neither."""
        drawn = np.array([choice == max(choices) or _is_power(choice) for choice in choices], dtype=float)
        return FixedChances(drawn / drawn.sum())


def _is_power(choice: float) -> bool:
    whole = int(choice)
    return whole == choice and whole > 0 and whole & (whole - 1) == 0
