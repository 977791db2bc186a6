"""Draw by learning progress: more often what still improves (ShiftNAS, arXiv 2307.08300).

K things such as budgets, subnets or classes of prompts. A look compares the loss of each with its loss at the
look before, and sets the probabilities by a rule of `rules.py`:

    rate      proportional to the smoothed improvement in one draw
    shift     the paper's: logits, Adam, and improvements that are not divided by the number of draws
    uniform   equal, with the same looks: the baseline

The paper's loss is that of held-out data. Whoever can measure one gives it to `ProgressChances.observe`,
and charges what the measuring costs. A plan measures nothing of its own: its loss is minus the mean
`reward` of the rollouts that came back since the last look, or (`signal: nll`, for demonstrations) their
mean negative log-likelihood. Both are taken before the weights learn from those rollouts, so each batch is
held-out data until it is learned from, at no cost. They are noisy: when the noise of a look is larger than
the improvement between two, no rule beats `uniform`; make `every` larger. A reward that is not the same for
all prompts needs many prompts in a look, or the luck of the draw counts as progress.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from oneloop.core.part import part
from oneloop.sample.plan.draw.progress_chances import ProgressChances


@part(paper="arXiv 2307.08300")
class Progress:
    """Probabilities that follow learning progress."""

    rule: Literal["rate", "shift", "uniform"] = "rate"
    """How progress becomes probabilities: proportional to it, by steps of Adam, or not at all."""
    signal: Literal["reward", "nll"] = "reward"
    """What improves: mean reward of judged rollouts, or the likelihood of those that were learned from."""
    every: Annotated[int, Field(ge=1)] = 256
    """Rollouts between two looks."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the draws that is spread evenly, so that nothing is forgotten; 1: uniform."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """Of rate: share of the earlier average that a look keeps."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """Of rate: exponent of the improvement; below 1 the probabilities differ less."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Of shift: Adam's learning rate. Logits move by at most this much in a look."""
    warmup: Annotated[int, Field(ge=1)] = 1
    """First looks at which the probabilities stay equal; the very first has nothing to compare with."""

    @property
    def learns(self) -> tuple[str, ...]:
        """See `oneloop.core.protocols.DrawDefaults`."""
        return ("reward",) if self.signal == "reward" else ()

    def chances(self, choices: Sequence[float]) -> ProgressChances:
        """Those of `choices` [K] before anything is known: all alike."""
        return ProgressChances(self, len(choices))
