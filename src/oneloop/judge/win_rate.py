"""Does a pointwise judge score the image above the reference's? 1, 0, or 1/2 at a tie.

Makes any judge of single images (`scene`, a function of your own) a held-out measure beside a learned one
that compares: the doctor holds the two win-rates against each other (`hacking_gap`). It has no gradient.
"""

from typing import Annotated, Any

import torch
from pydantic import Field

from oneloop.core.declared import declared
from oneloop.core.part import Of, part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError
from oneloop.judge.pairwise.preferences import wins


def _reads(judge: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*declared(judge.judge, "reads"), "output", "reference_output")))


def _writes(judge: Any) -> tuple[str, ...]:
    return (f"reward.{judge.name}", f"error.{judge.name}", judge.column)


def _score(judge: Any) -> str:
    return f"reward.{judge.name}"


@part(
    reads=_reads,
    writes=_writes,
    paper="arXiv 2508.21066",
)
class WinRate:
    """Wins against the reference's image by another judge's score."""

    judge: Annotated[Any, Of("judge")]
    """The judge that scores single images."""
    name: Annotated[str, Field(min_length=1, pattern=r"^[^.]*$")] = "win_rate"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    def __post_init__(self) -> None:
        if "reference_output" in declared(self.judge, "reads"):
            raise ValueError(
                f"judge: {type(self.judge).__name__} compares already; take one of single images"
            )

    @property
    def column(self) -> str:
        """Name of the column of wins."""
        return f"won.{self.name}.{self.judge.name}"

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises what the inner judge raises; its error on either image is an error of the pair."""
        own = self.judge(rollouts)
        rival = self.judge(rollouts.put(output=rollouts["reference_output"]))
        if len(own) != len(rollouts) or len(rival) != len(rollouts):
            raise JudgeError(f"judge '{self.judge.name}' must return its {len(rollouts)} rollouts")
        won = wins(own[_score(self.judge)].double(), rival[_score(self.judge)].double())
        pairs = zip(own[f"error.{self.judge.name}"], rival[f"error.{self.judge.name}"], strict=True)
        failed = [one if one is not None else other for one, other in pairs]
        won = won.masked_fill(
            torch.tensor([error is not None for error in failed], dtype=torch.bool), torch.nan
        )
        return rollouts.put(
            {f"reward.{self.name}": won, f"error.{self.name}": failed, self.column: won.clone()}
        )
