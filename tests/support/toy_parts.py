"""Parts of a user's own, for runs that take a second; a recipe reaches them by file."""

import torch

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import Verdict, columns


@part(reads=("text", "example"), writes=("reward.likeness", "error.likeness", "correct"))
class Likeness:
    """Share of characters that agree with the answer, minus a little for each one too many."""

    name: str = "likeness"
    """Names the columns."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        pairs = [
            (text, str(row["answer"])) for text, row in zip(rollouts.text, rollouts.example, strict=True)
        ]
        score = [
            sum(a == b for a, b in zip(t, w, strict=False)) - 0.125 * abs(len(t) - len(w)) for t, w in pairs
        ]
        return rollouts.put(
            {
                f"reward.{self.name}": torch.tensor(score, dtype=torch.float64),
                f"error.{self.name}": [None] * len(pairs),
                "correct": torch.tensor([float(t == w) for t, w in pairs], dtype=torch.float64),
            }
        )


@part(reads=("output",), writes=("reward.brightness", "error.brightness"))
class Brightness:
    """How bright an image is."""

    name: str = "brightness"
    """Names the columns."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        means = rollouts.output.flatten(1).mean(1).tolist()
        return rollouts.put(columns(self.name, [Verdict(mean) for mean in means]))
