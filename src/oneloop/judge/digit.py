"""Which digit a picture shows: a classifier fitted on the training digits of scikit-learn.

reward = probability of the row's `label`      correct = it is the likeliest of the ten
"""

from functools import cache
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oneloop.core.extras import MissingExtra
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns

SIZE = (8, 8)


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
        """Raises JudgeError for a row without a label. Other sizes are scaled to 8x8, colours averaged."""
        if missing := [key for key, row in enumerate(rollouts.example) if "label" not in row]:
            raise JudgeError(f"judge '{self.name}' needs the column 'label'; row {missing[0]} has none")
        labels = torch.tensor([int(row["label"]) for row in rollouts.example], dtype=torch.long)
        chances = probabilities(rollouts.output)
        right = (chances.argmax(1) == labels).double()
        verdicts = [Verdict(float(row[label])) for row, label in zip(chances, labels, strict=True)]
        return rollouts.put(columns(self.name, verdicts), correct=right)


def probabilities(images: Tensor) -> Tensor:
    """float64 [n, 10] of pictures [n, C, H, W] in [0, 1]."""
    grey = images.double().mean(1, keepdim=True)
    if grey.shape[2:] != SIZE:
        grey = F.interpolate(grey, SIZE, mode="area") if len(grey) else grey.new_zeros(0, 1, *SIZE)
    weights, bias = (torch.from_numpy(each) for each in (classifier().coef_, classifier().intercept_))
    # summed row by row: a product of matrices rounds otherwise when other pictures are beside
    return ((grey.flatten(1)[:, None] * weights).sum(-1) + bias).softmax(-1)


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
