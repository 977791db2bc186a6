"""Trains a reader, or a classifier of hands, on words that are there: the judge of later pictures, or another
one that checks it.

    reader       loss = mean of -log p(text) / len(text) over feasible words
    classifier   loss = mean of -log p(writer)                            AdamW, one-cycle learning rate

Words of a batch are padded with paper to the widest; half of them keep up to `BEHIND` of it as if it were
theirs, so that canvases wider than what is written on them are known, too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from oneloop.core import draws
from oneloop.core.protocols import Data
from oneloop.models.handwriting.laplacian import words
from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig
from oneloop.models.judges.hand_classifier import HandClassifier, HandConfig

BEHIND = 32
"""Most columns of paper behind a word that count as the word's."""
NORM = 5.0
"""Largest norm of a gradient."""
Advance = Callable[[int, float], None]
Judge = TypeVar("Judge", bound=nn.Module)


def fit_reader(
    data: Data,
    config: ReaderConfig,
    *,
    steps: int = 800,
    batch: int = 32,
    learning_rate: float = 3e-3,
    seed: int = 0,
    advance: Advance = lambda step, loss: None,
) -> CtcReader:
    """A reader, in eval mode, of the rows of `data`: `prompt` the text, `image` [1, H, W] and `width`.

    `advance(step, loss)` is called after every step. Raises ValueError for characters outside the alphabet.
    """
    reader = CtcReader(config, seed)

    def loss(images: Tensor, widths: Tensor, rows: list[dict[str, Any]]) -> Tensor:
        texts = [row["prompt"] for row in rows]
        losses, feasible = reader.losses(images, texts, widths)
        lengths = torch.tensor([len(text) for text in texts])
        return (losses / lengths).sum() / feasible.sum().clamp(min=1)

    return _fitted(reader, loss, data, steps, batch, learning_rate, seed, advance)


def fit_hand_classifier(
    data: Data,
    config: HandConfig,
    *,
    steps: int = 800,
    batch: int = 32,
    learning_rate: float = 3e-3,
    seed: int = 0,
    advance: Advance = lambda step, loss: None,
) -> HandClassifier:
    """A classifier, in eval mode, of the rows of `data`: `writer_name`, `image` [1, H, W] and `width`.

    `advance(step, loss)` is called after every step. Raises ValueError for writers it does not know.
    """
    classifier = HandClassifier(config, seed)

    def loss(images: Tensor, widths: Tensor, rows: list[dict[str, Any]]) -> Tensor:
        writers = classifier.classes([row["writer_name"] for row in rows])
        return nn.functional.nll_loss(classifier(images, widths), writers)

    return _fitted(classifier, loss, data, steps, batch, learning_rate, seed, advance)


def _fitted(
    judge: Judge,
    loss_of: Callable[[Tensor, Tensor, list[dict[str, Any]]], Tensor],
    data: Data,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    advance: Advance,
) -> Judge:
    judge.train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=learning_rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for step in range(steps):
        loss = loss_of(*drawn(data, step, batch, seed))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), NORM)
        optimizer.step()
        plan.step()
        advance(step, float(loss.detach()))
    return judge.eval()


def drawn(data: Data, step: int, batch: int, seed: int) -> tuple[Tensor, Tensor, list[dict[str, Any]]]:
    """(pictures [batch, 1, H, W], widths [batch], rows) of a step, drawn with replacement."""
    chance = draws.uniforms(draws.mix(seed, "reader", step), np.arange(3 * batch)).reshape(3, batch)
    rows = [data[int(each * len(data))] for each in chance[0]]
    pictures = [row["image"][..., : row["width"]] for row in rows]
    behind = np.where(chance[1] < 0.5, chance[2] * BEHIND, 0).astype(int)
    padded = [
        np.pad(picture, ((0, 0), (0, 0), (0, more)), constant_values=1.0)
        for picture, more in zip(pictures, behind.tolist(), strict=True)
    ]
    made = words(padded)
    return made.images, made.mask.sum(1), rows


def fitted(folder: Path, fit: Callable[[], CtcReader]) -> CtcReader:
    """The reader that `folder` holds; one that `fit` trains and `folder` then holds, where there is none."""
    if not (folder / "config.json").exists():
        fit().save(folder)
    return CtcReader.load(folder)
