"""Draw everything equally often."""

from collections.abc import Sequence

from oneloop.core.part import part
from oneloop.sample.plan.draw.fixed import FixedChances
from oneloop.sample.plan.draw.rules import uniform


@part()
class Uniform:
    """Equal probabilities."""

    def chances(self, choices: Sequence[float]) -> FixedChances:
        """Those of `choices` [K]."""
        return FixedChances(uniform(len(choices)))
