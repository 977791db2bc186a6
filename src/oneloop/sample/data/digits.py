"""The 1797 handwritten digits of scikit-learn, 8x8 pixels: a real image set that trains in seconds on a CPU.

A row is `prompt` ("0" to "9"), `image` float32 [1, 8, 8] in [0, 1] and `label`.
"""

from functools import cache
from typing import Any, Literal

import numpy as np

from oneloop.core.extras import MissingExtra
from oneloop.core.part import part

EVERY = 5
"""Every fifth row is in the test split."""


@part()
class Digits:
    """Handwritten digits; every fifth row is in the test split, all others are in the train split."""

    split: Literal["train", "test", "all"] = "train"
    """Rows used: the train split, the test split, or all."""

    def __len__(self) -> int:
        return len(rows_of(self.split))

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1."""
        if not 0 <= key < len(self):
            raise IndexError(f"row {key}: there are {len(self)} digits in '{self.split}'")
        images, labels = load()
        at = rows_of(self.split)[key]
        return {"prompt": str(labels[at]), "image": images[at], "label": int(labels[at])}


@cache
def load() -> tuple[np.ndarray, np.ndarray]:
    """(images float32 [1797, 1, 8, 8] in [0, 1], labels [1797])."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("plan.data.digits", "scikit-learn", "images") from error
    digits = load_digits()
    return (digits.images / 16).astype(np.float32)[:, None], digits.target


@cache
def rows_of(split: str) -> np.ndarray:
    """Row numbers, among all 1797, of the split named `split`."""
    places = np.arange(len(load()[1]))
    return places if split == "all" else places[(places % EVERY == 0) == (split == "test")]
