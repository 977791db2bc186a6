"""Which digit a picture shows: a classifier fitted on the training digits of scikit-learn.

reward = probability of the row's `label`      correct = it is the likeliest of the ten
"""

from functools import cache
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from oneloop.core.extras import MissingExtra
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns

SHAPE = (1, 8, 8)


@part(
    reads=("output", "example"),
    writes=lambda self: (f"reward.{self.name}", f"error.{self.name}", "correct"),
)
class Digit:
    """Probability that the picture shows the row's `label`, by logistic regression on its 64 pixels."""

    name: Annotated[str, Field(min_length=1)] = "digit"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError for a row without a label, and for pictures of another size."""
        images = rollouts.output
        if tuple(images.shape[1:]) != SHAPE:
            raise JudgeError(f"judge '{self.name}' reads pictures of {SHAPE}, got {tuple(images.shape[1:])}")
        if missing := [key for key, row in enumerate(rollouts.example) if "label" not in row]:
            raise JudgeError(f"judge '{self.name}' needs the column 'label'; row {missing[0]} has none")
        labels = [int(row["label"]) for row in rollouts.example]
        chances = classifier().predict_proba(images.flatten(1).double().numpy())
        right = torch.tensor(chances.argmax(1) == np.array(labels), dtype=torch.float64)
        verdicts = [Verdict(float(row[label])) for row, label in zip(chances, labels, strict=True)]
        return rollouts.put(columns(self.name, verdicts), correct=right)


@cache
def classifier() -> Any:
    """The classifier, fitted on all digits but every fifth, which the data part `digits` holds out."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("judge.digit", "scikit-learn", "images") from error
    digits = load_digits()
    train = np.arange(len(digits.target)) % 5 != 0
    return LogisticRegression(max_iter=2000).fit(digits.data[train] / 16, digits.target[train])
