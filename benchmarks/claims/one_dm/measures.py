"""What words in a hand are measured by, none of it seen by the training of any arm.

cer        a reader's character error rate; it has learned from all fonts and all words, on other pictures
tesseract  the same by tesseract, which has seen none of it; left out where the program is not installed
writer     share of words whose writer a classifier of all fonts names
distance   Euclidean distance between the mean features of a writer's words and those of his real words
           for the same texts, mean over writers; features are the classifier's, as in HWD
frechet    Fréchet distance of the same features of all words to those of real ones
looks      the same as `distance` for four numbers made without any network, each in standard deviations
           between the real words of all writers: ink a column, slant, width of strokes, height of the ink
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.claims.one_dm import setting
from oneloop.judge.tesseract import Tesseract
from oneloop.measure.edit_distance import character_error_rate
from oneloop.measure.frechet import frechet_distance
from oneloop.models.judges.ctc_reader import CtcReader
from oneloop.models.judges.hand_classifier import HandClassifier

INK = 0.5
"""A pixel with more ink than this is ink."""
INSTALLED = shutil.which("tesseract") is not None


@dataclass(frozen=True)
class Judges:
    """Networks that measure."""

    reader: CtcReader
    hands: HandClassifier


def looks(picture: np.ndarray) -> np.ndarray:
    """[4] of a picture [H, W]: ink a column, slant (columns right a row up), mean width of strokes along a
    row, rows with ink; zeros without ink."""
    ink = 1 - picture
    dark = ink > INK
    columns, rows = dark.any(0), dark.any(1)
    if not dark.any():
        return np.zeros(4)
    down, right = np.gradient(ink)
    starts = (dark & ~np.pad(dark, ((0, 0), (1, 0)))[:, :-1]).sum()
    # along a stroke ink is constant: right * dx + down * dy = 0
    slant = (down * right).sum() / max(1e-9, np.square(right).sum())
    return np.array([dark.sum() / columns.sum(), slant, dark.sum() / starts, float(rows.sum())])


def measured(judges: Judges, pictures: Tensor, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The columns of pictures [n, 1, H, W], one for each of `rows`."""
    real = torch.stack([torch.as_tensor(row["image"]) for row in rows])
    names = [str(row["writer_name"]) for row in rows]
    with torch.no_grad():
        said = judges.hands(pictures).argmax(1)
        made, known = (judges.hands.features(each).double().numpy() for each in (pictures, real))
    right = (said == judges.hands.classes(names)).double().mean()
    other = {"tesseract": errors(Tesseract(seconds=60).read(list(pictures)), rows)} if INSTALLED else {}
    seen, wanted = (np.stack([looks(each[0].numpy()) for each in some]) for some in (pictures, real))
    scale = wanted.std(0)
    return {
        "cer": errors(judges.reader.read(pictures), rows),
        **other,
        "writer": float(right),
        "distance": by_writer(made, known, names),
        "frechet": frechet_distance(made, known),
        "looks": by_writer(seen / scale, wanted / scale, names),
    }


def errors(read: Sequence[str | None], rows: Sequence[Mapping[str, Any]]) -> float:
    """Mean character error rate of what was `read` on the pictures of `rows`."""
    pairs = zip(read, rows, strict=True)
    return float(np.mean([character_error_rate(text or "", str(row["prompt"])) for text, row in pairs]))


def by_writer(made: np.ndarray, real: np.ndarray, names: Sequence[str]) -> float:
    """Mean over writers of the distance between the means of their `made` and `real` features [n, d]."""
    apart = []
    for name in sorted(set(names)):
        own = np.array([each == name for each in names])
        apart.append(np.linalg.norm(made[own].mean(0) - real[own].mean(0)))
    return float(np.mean(apart))


def dull(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Tensor]:
    """{name: pictures [n, 1, H, W]} that need no training.

    real: the words themselves, what can be reached. copy: the reference, whatever it says. a seen font: the
    word in one drawn at random. nearest seen font: in the one whose `looks` are nearest to the reference's.
    mean font: the mean of the word in all seen fonts.
    """
    data = setting.fonts(writers="seen", vocabulary="all", seed=seed)
    hands = data.hands
    kinds = {
        hand.name: np.mean([looks(data.drawn(hand, word, 0)) for word in hand.known[:12]], 0)
        for hand in hands
    }
    scale = np.std(list(kinds.values()), 0)
    random = np.random.default_rng(seed)
    made: dict[str, list[np.ndarray]] = {}
    for row in rows:
        word, shown = str(row["prompt"]), looks(row["reference"][0])
        able = [hand for hand in hands if word in hand.targets]
        near = min(able, key=lambda hand: float(np.linalg.norm((kinds[hand.name] - shown) / scale)))
        chosen = able[int(random.integers(len(able)))]
        found = {
            "real words": row["image"][0],
            "copy of the reference": row["reference"][0],
            "a seen font": data.drawn(chosen, word, 1),
            "nearest seen font": data.drawn(near, word, 1),
            "mean font": np.mean([fitted(data.drawn(hand, word, 1)) for hand in able], 0),
        }
        for name, picture in found.items():
            made.setdefault(name, []).append(fitted(picture))
    return {name: torch.from_numpy(np.stack(some)[:, None]) for name, some in made.items()}


def fitted(picture: np.ndarray) -> np.ndarray:
    """A picture [H, w] on the canvas: padded with paper, or its left part."""
    kept = picture[:, : setting.WIDTH]
    return np.pad(kept, ((0, 0), (0, setting.WIDTH - kept.shape[1])), constant_values=1.0)
