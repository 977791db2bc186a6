"""Differences between two methods that met the same seeds, with a bootstrap interval over the seeds.

    difference_s = a_s - b_s          resample the S differences with replacement, take the mean, 10,000 times

Pairing takes out what a seed does to both. With few seeds the interval is too narrow (a bootstrap of S values
knows no spread beyond theirs): it is a first look, and five seeds are worth more than ten thousand draws.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 10_000
LARGEST = 1 << 22
"""So many draws are held at once."""


def paired_bootstrap(
    ours: Sequence[float], theirs: Sequence[float], seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """(mean of ours - theirs, low, high); low and high are NaN for a single pair.

    Raises ValueError when the two have different lengths or none.
    """
    if len(ours) != len(theirs) or not len(ours):
        raise ValueError(f"paired values must be as many on both sides, got {len(ours)} and {len(theirs)}")
    return bootstrap_mean(
        np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64), seed, level
    )


def bootstrap_mean(values: ArrayLike, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """(mean of independent `values` [n], low, high) by resampling them; low and high are NaN below two."""
    given = np.asarray(values, dtype=np.float64)
    mean = float(given.mean()) if len(given) else float("nan")
    if len(given) < 2:
        return mean, float("nan"), float("nan")
    draw = np.random.Generator(np.random.Philox(seed))
    rows = max(1, LARGEST // len(given))
    means = [
        given[draw.integers(len(given), size=(min(rows, DRAWS - start), len(given)))].mean(axis=1)
        for start in range(0, DRAWS, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)
