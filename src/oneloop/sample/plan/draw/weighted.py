"""Draw with probabilities that the recipe states (TokenFLEX, arXiv 2504.03154)."""

from collections.abc import Sequence

from oneloop.core.part import part
from oneloop.sample.plan.draw.fixed import FixedChances


@part(paper="arXiv 2504.03154")
class Weighted:
    """A probability for each choice; (0.2, 0.3, 0.5) of 64, 144 and 256 tokens saves 28 % of those of 256."""

    probabilities: tuple[float, ...]
    """Probability of each choice, in the order of the choices."""

    def __post_init__(self) -> None:
        if min(self.probabilities, default=0) < 0 or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError(
                f"probabilities must be at least 0 and add up to 1, got {list(self.probabilities)} "
                f"(sum {sum(self.probabilities):g})"
            )

    def chances(self, choices: Sequence[float]) -> FixedChances:
        """Those of `choices` [K]. Raises ValueError when K is another number."""
        if len(self.probabilities) != len(choices):
            raise ValueError(
                f"probabilities must be one for each of {len(choices)} choices, got {len(self.probabilities)}"
            )
        total = sum(self.probabilities)
        return FixedChances([probability / total for probability in self.probabilities])
