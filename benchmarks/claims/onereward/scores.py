"""What the people of this experiment want: three scores of an edited digit, differentiable, and a judge that
knows them.

    text_alignment    log-probability that an independent classifier gives to the asked digit
    consistency       - mean squared jump across the border of the mask
    removal_quality   - mean ink inside of the mask
    p(first is better) = sigma(2 (score_1 - score_2) / spread)         spread: of a score over the base's
    images

The classifier never sees what the policy learns from; `reader` 1 is a second one, that no policy is trained
against. Without `query` the judge knows neither task nor criterion: its margin is the mean over all scores.
"""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from oneloop.core.part import part
from oneloop.sample.data.digits import load, rows_of

TASKS: dict[str, tuple[str, ...]] = {
    "fill": ("text_alignment", "consistency"),
    "extend": ("text_alignment", "consistency"),
    "remove": ("removal_quality",),
}
PAIRS = [(task, criterion) for task, criteria in TASKS.items() for criterion in criteria]
SPREAD = {"text_alignment": 4.0, "consistency": 0.05, "removal_quality": 0.1}


@cache
def classifier(seed: int) -> nn.Sequential:
    """Log-probabilities [b, 10] of images [b, 64], learned from the digits the policy never sees."""
    from sklearn.neural_network import MLPClassifier

    images, labels = load()
    held_out = rows_of("test")
    learned = MLPClassifier((64,), alpha=1e-2, max_iter=1000, random_state=seed)
    # in float64: hundreds of steps in fp32 make another classifier of every CPU's rounding
    learned.fit(images[held_out].reshape(len(held_out), -1).astype(np.float64), labels[held_out])
    layers: list[nn.Module] = []
    for weight, bias in zip(learned.coefs_, learned.intercepts_, strict=True):
        layer = nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.LogSoftmax(1)).requires_grad_(False)


def alignment(images: Tensor, labels: Tensor, reader: int = 0) -> Tensor:
    """[b], log-probability of `labels` [b]."""
    law: Tensor = classifier(reader)(images.flatten(1))
    return law.gather(1, labels[:, None])[:, 0]


def consistency(images: Tensor, condition: Tensor) -> Tensor:
    """[b], - mean over neighbours across the mask's border of (inside - source outside)^2."""
    source, mask = condition[:, :-1], condition[:, -1:]
    total, count = images.new_zeros(len(images)), images.new_zeros(len(images))
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        beside, masked = moved(source, shift), moved(mask, shift, 1.0)
        border = mask * (1 - masked)
        total = total + (border * (images - beside).square()).flatten(1).sum(1)
        count = count + border.flatten(1).sum(1)
    return -total / count.clamp(min=1)


def moved(images: Tensor, shift: tuple[int, int], fill: float = 0.0) -> Tensor:
    """`images` [b, C, H, W] whose place (y, x) shows (y + shift, x + shift); `fill` beyond the border."""
    height, width = images.shape[-2:]
    framed = pad(images, (1, 1, 1, 1), value=fill)
    return framed[..., 1 + shift[0] : 1 + shift[0] + height, 1 + shift[1] : 1 + shift[1] + width]


def emptiness(images: Tensor, condition: Tensor) -> Tensor:
    """[b], - mean of the pixels inside of the mask."""
    mask = condition[:, -1:]
    return -(images * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)


def scores(images: Tensor, condition: Tensor, labels: Tensor, reader: int = 0) -> dict[str, Tensor]:
    """All three of images [b, 1, 8, 8] in [0, 1], each [b]."""
    return {
        "text_alignment": alignment(images, labels, reader),
        "consistency": consistency(images, condition),
        "removal_quality": emptiness(images, condition),
    }


Query = Annotated[bool, Field(description="Whether it is told the task and the criterion.")]
Sharpness = Annotated[float, Field(gt=0, description="Its margin at a difference of one spread.")]


@part()
class DigitScores:
    """A judge that is right by construction."""

    query: Query = True
    sharpness: Sharpness = 2.0
    reader: Annotated[int, Field(ge=0)] = 0
    """Which classifier reads the digits."""

    def build(self) -> "ScoreNetwork":
        """The judge as a network without weights."""
        return ScoreNetwork(self)


class ScoreNetwork(nn.Module):
    """Log-probabilities of yes and no from the true scores."""

    spread = SPREAD

    def __init__(self, options: Any):
        super().__init__()
        self.options = options

    def scores(self, images: Tensor, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Each [b], of images [b, 1, 8, 8] made for `rows`."""
        labels = torch.tensor([int(row["label"]) for row in rows])
        return scores(images, conditions(rows, images), labels, self.options.reader)

    def answers(self, first: Tensor, second: Tensor, questions: Sequence[Any]) -> Tensor:
        """[b, 2], differentiable in both images [b, C, H, W]."""
        rows = [each.row for each in questions]
        one, other = self.scores(first, rows), self.scores(second, rows)
        margins = torch.stack([(one[name] - other[name]) / width for name, width in self.spread.items()], 1)
        told = torch.tensor([list(self.spread).index(each.criterion) for each in questions])
        margin = margins.gather(1, told[:, None])[:, 0] if self.options.query else margins.mean(1)
        margin = self.options.sharpness * margin
        return torch.stack([logsigmoid(margin), logsigmoid(-margin)], 1)


def conditions(rows: Sequence[Any], like: Tensor) -> Tensor:
    """[b, C + 1, H, W], of the rows' sources outside of the masks, and the masks."""
    return torch.from_numpy(np.stack([row["condition"] for row in rows])).to(like)
