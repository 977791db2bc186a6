"""Means and intervals over seeds, and ratios that are refused when their denominator may be zero."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy.stats import t as student

from benchmarks.claims.claim import Fraction, Rows


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of the mean of independent `values`, by Student's t. Raises ValueError below 2."""
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 values, got {len(values)}")
    mean = statistics.fmean(values)
    half = (
        float(student.ppf(0.5 + level / 2, len(values) - 1))
        * statistics.stdev(values)
        / math.sqrt(len(values))
    )
    return mean, mean - half, mean + half


def headline_interval(numbers: Sequence[float | Fraction]) -> tuple[float, float, float]:
    """(mean, low, high) of a headline over the seeds; of a ratio, the mean of the seeds' ratios.

    Raises ValueError for ratios whose denominators are not clearly away from zero: the interval of their mean
    must keep to one side, and no seed may fall below a tenth of that mean. Such a ratio says nothing.
    """
    pairs = [number for number in numbers if isinstance(number, tuple)]
    if not pairs:
        return interval([float(number) for number in numbers])  # type: ignore[arg-type]
    below = [pair[1] for pair in pairs]
    mean, low, high = interval(below)
    if low <= 0 <= high or any(value / mean < 0.1 for value in below):
        raise ValueError(
            f"a ratio over {mean:.3g} ({low:.3g} to {high:.3g}) is no headline: "
            "its denominator may be zero; claim the difference instead"
        )
    return interval([above / under for above, under in pairs])


def table(runs: Sequence[Rows]) -> list[dict[str, Any]]:
    """One row for each row of the seeds' tables, each number as its mean and 95 % interval."""
    made = []
    for row, columns in runs[0].items():
        cells: dict[str, Any] = {"row": row}
        for column in columns:
            mean, low, high = interval([rows[row][column] for rows in runs])
            cells[column] = {"mean": mean, "low": low, "high": high}
        made.append(cells)
    return made
