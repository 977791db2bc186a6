"""Trains a reader on words that are there: the judge of later pictures, or another one that checks it.

    loss = mean of -log p(text) / len(text) over feasible words            AdamW, one-cycle learning rate

Words of a batch are padded with paper to the widest; half of them keep up to `BEHIND` of it as if it were
theirs, so that a reader also reads canvases wider than what is written on them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.core.protocols import Data
from oneloop.models.handwriting.laplacian import words
from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig

BEHIND = 32
"""Most columns of paper behind a word that count as the word's."""
NORM = 5.0
"""Largest norm of a gradient."""
Advance = Callable[[int, float], None]


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
    reader = CtcReader(config, seed).train()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=learning_rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for step in range(steps):
        images, widths, rows = drawn(data, step, batch, seed)
        texts = [row["prompt"] for row in rows]
        losses, feasible = reader.losses(images, texts, widths)
        lengths = torch.tensor([len(text) for text in texts])
        loss = (losses / lengths).sum() / feasible.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), NORM)
        optimizer.step()
        plan.step()
        advance(step, float(loss.detach()))
    return reader.eval()


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
