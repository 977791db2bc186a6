"""An MLP that compares two images of a few pixels: for claims and tests that take seconds.

Its input is (first, second, unmasked part of the source, mask, embedding of task and criterion), its answer
yes or no, as that of a vision-language model in yes_no_vlm.py. Without `query` it does not see task and
criterion.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.models.flow.pixel_network import WEIGHTS, Channels
from oneloop.models.seeded import Seed, seeded

ROWS = 64
"""Rows of the embedding table; the row of a (task, criterion) is its hash."""


@part(paper="arXiv 2508.21066")
class PairMlp:
    """An MLP with two hidden layers of width `hidden_size`; weights from `folder`, or random by `seed`."""

    image_size: Annotated[int, Field(ge=1)] = 8
    """Height and width of an image."""
    channels: Channels = 1
    hidden_size: Annotated[int, Field(ge=1)] = 256
    """Width of the layers."""
    classes: Annotated[int, Field(ge=0)] = 10
    """Number of values of the data's column `label`, which is an input one-hot; 0: the label is no input."""
    query: bool = True
    """Whether the task and the criterion are inputs."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the noise added to both images in training; 0: none."""
    folder: str | None = None
    """Folder with `model.safetensors` of a trained judge; None: random weights."""
    seed: Seed = 0

    def build(self) -> "PairMlpNetwork":
        """The network in fp32. Raises FileNotFoundError for a folder without weights."""
        with seeded(self.seed):
            network = PairMlpNetwork(self)
        if self.folder is not None:
            network.load_state_dict(load_file(Path(self.folder) / WEIGHTS))
        return network


class PairMlpNetwork(nn.Module):
    """MLP that returns log-probabilities [b, 2] of yes and no for b pairs of images."""

    def __init__(self, options: PairMlp):
        super().__init__()
        self.options, width = options, options.hidden_size
        pixels = options.image_size**2
        inputs = (3 * options.channels + 1) * pixels + width // 4 + options.classes
        self.asked = nn.Embedding(ROWS, width // 4)
        self.network = nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def encode(self, questions: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
        """(embedding rows [b], conditions [b, C + 1, H, W], labels [b]) of b questions."""
        rows = [int(draws.mix(each.task, each.criterion) % np.uint64(ROWS)) for each in questions]
        conditions = np.stack([np.asarray(each.row["condition"], dtype=np.float32) for each in questions])
        labels = [int(each.row.get("label", 0)) for each in questions]
        return torch.tensor(rows), torch.from_numpy(conditions), torch.tensor(labels)

    def forward(
        self, first: Tensor, second: Tensor, asked: Tensor, condition: Tensor, label: Tensor
    ) -> Tensor:
        """[b, 2], log-probabilities of yes and no for pairs of images [b, C, H, W]."""
        if self.training and self.options.noise:
            first = first + self.options.noise * torch.randn_like(first)
            second = second + self.options.noise * torch.randn_like(second)
        told = self.asked(asked if self.options.query else torch.zeros_like(asked))
        seen = [first.flatten(1), second.flatten(1), condition.flatten(1), told]
        if self.options.classes:
            seen.append(nn.functional.one_hot(label, self.options.classes).to(first))
        law: Tensor = self.network(torch.cat(seen, 1)).log_softmax(1)
        return law

    def answers(self, first: Tensor, second: Tensor, questions: Sequence[Any]) -> Tensor:
        """[b, 2], log-probabilities of yes and no for pairs of images; differentiable in both."""
        asked, condition, label = (value.to(first.device) for value in self.encode(questions))
        law: Tensor = self(first, second, asked, condition, label)
        return law
