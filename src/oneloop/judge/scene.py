"""Does the picture show what the caption says? Counts, colours, shapes, positions and words read off the
pixels.

In the spirit of GenEval (arXiv 2310.11513), for the scenes of data part `shapes`: each criterion is a score
in [0, 1], the reward their mean, `correct` that all of them are met. One judge a criterion, each with its own
name and weight, keeps them apart.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns
from oneloop.measure import scenes

Criterion = Literal["count", "colour", "shape", "position", "word"]


@part(
    reads=("output", "example"),
    writes=lambda self: (f"reward.{self.name}", f"error.{self.name}", "correct"),
    paper="arXiv 2310.11513",
)
class Scene:
    """Mean score of the criteria; `correct` where every one reaches `met`."""

    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)] = ("count", "colour", "shape", "position")
    """Criteria that are scored."""
    met: Annotated[float, Field(gt=0, le=1)] = 0.75
    """The score from which a criterion counts as met."""
    name: Annotated[str, Field(min_length=1)] = "scene"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError when the data rows say no scene."""
        verdicts, correct = [], []
        for image, row in zip(rollouts.output.numpy(), rollouts.example, strict=True):
            try:
                scene = scenes.scene_of(row)
            except KeyError as error:
                there = ", ".join(row)
                raise JudgeError(
                    f"judge '{self.name}' needs the column {error} of the data; there are: {there}"
                ) from None
            found = [scenes.score(image, scene, criterion) for criterion in self.criteria]
            verdicts.append(Verdict(sum(found) / len(found)))
            correct.append(float(min(found) >= self.met))
        return rollouts.put(columns(self.name, verdicts), correct=torch.tensor(correct, dtype=torch.float64))
