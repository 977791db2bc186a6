"""A reward that an untrained model gets some of, so that short runs have something to learn from."""

import torch

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import Verdict, columns


@part(reads=("text", "example"), writes=("reward.likeness", "error.likeness", "correct"))
class Likeness:
    """Share of characters that agree with the answer, less an eighth for each one too many or missing."""

    name: str = "likeness"
    """Names the columns."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Judges in this process."""
        pairs = [
            (text, str(row["answer"])) for text, row in zip(rollouts.text, rollouts.example, strict=True)
        ]
        right = torch.tensor([float(text == wanted) for text, wanted in pairs], dtype=torch.float64)
        return rollouts.put(columns(self.name, [Verdict(alike(*pair)) for pair in pairs])).put(correct=right)


def alike(text: str, wanted: str) -> float:
    """How much of `wanted` the text is."""
    return sum(a == b for a, b in zip(text, wanted, strict=False)) - 0.125 * abs(len(text) - len(wanted))
