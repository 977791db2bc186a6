"""A budget drawn from a few choices: visual tokens of a picture, tokens of an image, width of a network.

    P(choices[i]) = probabilities[i]        the draw is a function of (seed, number): nothing has to be saved

`BudgetSampler` takes numbers in turn where there are no rollouts whose ids could name the draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oneloop.core import draws


@dataclass(frozen=True)
class Budgets:
    """The choices and how likely each is. Raises ValueError for what is no law."""

    choices: tuple[int, ...]
    """Budgets, each once."""
    probabilities: tuple[float, ...] = ()
    """Probability of each; empty: all alike."""

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) < len(self.choices) or min(self.choices) < 1:
            raise ValueError(f"choices must be different positive numbers, got {list(self.choices)}")
        if not self.probabilities:
            return
        if len(self.probabilities) != len(self.choices):
            raise ValueError(
                f"probabilities must be one for each of {len(self.choices)} choices, got "
                f"{len(self.probabilities)}"
            )
        if min(self.probabilities) < 0 or not abs(sum(self.probabilities) - 1) <= 1e-6:
            raise ValueError(
                f"probabilities must be at least 0 and add up to 1, got {list(self.probabilities)} "
                f"(sum {sum(self.probabilities):g})"
            )

    @property
    def law(self) -> NDArray[np.float64]:
        """Probabilities, as numbers that add up to 1."""
        given = self.probabilities or (1.0,) * len(self.choices)
        return np.array(given, dtype=np.float64) / sum(given)

    @property
    def mean(self) -> float:
        """Expected budget."""
        return float(self.law @ np.array(self.choices))

    def draw(self, seed: int, numbers: Any) -> NDArray[np.int64]:
        """int64, the budget of each of `numbers`: a function of (seed, number)."""
        chosen: NDArray[np.int64] = np.array(self.choices)[drawn(self.law, seed, numbers)]
        return chosen


def drawn(law: NDArray[np.float64], seed: int, numbers: Any) -> NDArray[np.int64]:
    """int64, places 0..K-1 drawn with probabilities `law` [K], one for each of `numbers`: a function of
    (seed, number)."""
    keys = draws.mix(seed, "budget", np.asarray(numbers, dtype=np.int64))
    # a last edge that rounds to less than 1 would leave numbers without a choice
    return np.searchsorted(np.cumsum(law)[:-1], draws.uniforms(keys, 0), "right")


class BudgetSampler:
    """Budgets one after the other, for a collator; `state_dict` is what a checkpoint must remember."""

    def __init__(self, choices: Sequence[int], probabilities: Sequence[float] = (), seed: int = 0):
        self.budgets, self.seed, self.drawn = Budgets(tuple(choices), tuple(probabilities)), seed, 0

    def next(self) -> int:
        """The next budget."""
        self.drawn += 1
        return int(self.budgets.draw(self.seed, self.drawn - 1))

    def state_dict(self) -> dict[str, int]:
        """How many were drawn, and from which seed."""
        return {"seed": self.seed, "drawn": self.drawn}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on where `state_dict` was taken."""
        self.seed, self.drawn = state["seed"], state["drawn"]
