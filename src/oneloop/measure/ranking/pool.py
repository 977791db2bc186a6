"""The pool: who scored what on which sample, most of it unknown (ONEBench, arXiv 2412.06745, section 2).

    m models   n samples   c cells (one model's score on one sample)   q preferences (one model over another)

Cells lie end to end, sample after sample, each sample's from its worst score to its best: a sample *is* a
weak order of the models measured on it, and nothing later looks at the size of a score except the means.
Higher is always better; readers negate what is not. Everything is frozen: `take` and `merged` (merge.py)
return new pools. Not here: making one (build.py), reading files (readers/), what follows from one
(rank.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
MOST = 1 << 20
"""Entries of a working array that are held at once."""


class RankingError(ValueError):
    """Measurements that cannot be read, merged or ranked as asked; the message says which and what to do."""


@dataclass(frozen=True)
class Preferences:
    """q verdicts between two models on one sample."""

    left: Integers
    """int64 [q], number of a model."""
    right: Integers
    """int64 [q], number of the other model."""
    sample: Integers
    """int64 [q], number of the sample."""
    verdict: Floats
    """float64 [q], 1: left won, 0: right won, 0.5: tie."""
    weight: Floats
    """float64 [q], how many verdicts it counts for."""

    def __len__(self) -> int:
        return len(self.left)

    def at(self, rows: NDArray[Any]) -> "Preferences":
        """The verdicts of `rows` (numbers or a mask)."""
        return Preferences(
            self.left[rows], self.right[rows], self.sample[rows], self.verdict[rows], self.weight[rows]
        )


def no_preferences() -> Preferences:
    """No verdicts."""
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Preferences(none, none, none, nothing, nothing)


@dataclass(frozen=True, eq=False)
class SamplePool:
    """Measurements of m models on n samples."""

    models: tuple[str, ...]
    """m names, sorted."""
    samples: NDArray[np.object_]
    """n names."""
    sources: tuple[str, ...]
    """Where samples come from (data sets, metrics)."""
    source: Integers
    """int64 [n], number of each sample's source."""
    start: Integers
    """int64 [n + 1]: the cells of sample j are start[j] to start[j + 1]."""
    model: NDArray[np.int32]
    """int32 [c], number of a model."""
    value: Floats
    """float64 [c], score; higher is better."""
    preferences: Preferences = field(default_factory=no_preferences)
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """What is known of samples: name -> n values, None where unknown; `text` is the question."""

    def __post_init__(self) -> None:
        m, n = len(self.models), len(self.samples)
        assert len(self.start) == n + 1 and len(self.source) == n and self.start[-1] == len(self.model)
        assert len(self.model) == len(self.value) and len(set(self.models)) == m
        assert all(len(values) == n for values in self.facts.values())

    def __repr__(self) -> str:
        cells, preferences = len(self.value), len(self.preferences)
        return (
            f"SamplePool({len(self.models)} models, {len(self.samples)} samples of "
            f"{len(self.sources)} sources, {cells} cells, {preferences} preferences)"
        )

    @property
    def measured(self) -> Integers:
        """int64 [n], models measured on each sample."""
        return np.diff(self.start)

    @property
    def sample(self) -> Integers:
        """int64 [c], the sample of each cell."""
        return np.repeat(np.arange(len(self.samples)), self.measured)

    @property
    def count(self) -> Integers:
        """int64 [m], cells and preferences of each model."""
        m, two = len(self.models), (self.preferences.left, self.preferences.right)
        return np.bincount(self.model, minlength=m) + sum(np.bincount(side, minlength=m) for side in two)

    @property
    def missing(self) -> float:
        """Share of the m n cells that were not measured; NaN for an empty pool."""
        size = len(self.models) * len(self.samples)
        return 1 - len(self.value) / size if size else float("nan")

    def matrix(self) -> Floats:
        """float64 [m, n], NaN where missing. Raises RankingError above 2^27 entries."""
        m, n = len(self.models), len(self.samples)
        if m * n > 1 << 27:
            raise RankingError(f"a matrix of {m} models x {n} samples is too large to fill in")
        filled = np.full((m, n), np.nan)
        filled[self.model, self.sample] = self.value
        return filled

    def take(self, samples: NDArray[Any]) -> "SamplePool":
        """The pool of these samples (a mask [n], or numbers, repeats allowed); all models stay."""
        rows = np.flatnonzero(samples) if samples.dtype == bool else np.asarray(samples, dtype=np.int64)
        counts = self.measured[rows]
        start = np.concatenate([[0], np.cumsum(counts)])
        cells = np.repeat(self.start[rows] - start[:-1], counts) + np.arange(start[-1])
        return SamplePool(
            self.models,
            self.samples[rows],
            self.sources,
            self.source[rows],
            start,
            self.model[cells],
            self.value[cells],
            self._preferences_of(rows),
            {name: [values[row] for row in rows] for name, values in self.facts.items()},
        )

    def _preferences_of(self, rows: Integers) -> Preferences:
        """Verdicts on the samples `rows`, renumbered; once for each time a sample occurs in `rows`."""
        old = self.preferences
        if not len(old):
            return old
        order = np.argsort(old.sample, kind="stable")
        first, last = (np.searchsorted(old.sample[order], rows, side) for side in ("left", "right"))
        counts = last - first
        offsets = np.cumsum(counts) - counts
        found = old.at(order[np.repeat(first - offsets, counts) + np.arange(counts.sum())])
        renumbered = np.repeat(np.arange(len(rows)), counts)
        return Preferences(found.left, found.right, renumbered, found.verdict, found.weight)


@dataclass(frozen=True)
class CellBlock:
    """b samples that k models each were measured on, in ascending order of score."""

    cells: Integers
    """int64 [b, k], numbers of cells."""
    models: Integers
    """int64 [b, k], number of each cell's model."""
    level: Integers
    """int64 [b, k], 0 for the worst score of a sample, equal for equal scores."""


def blocks(pool: SamplePool, width: int = 1, tie_tolerance: float = 0.0) -> Iterator[CellBlock]:
    """All samples with two or more measurements, grouped by how many there are.

    A block holds at most `MOST` // `width` cells (one sample at least). Neighbouring scores that differ by
    `tie_tolerance` or less are one level; a chain of such scores is one level too, so that ties stay
    transitive.
    """
    if not len(pool.value):
        return
    counts = pool.measured
    order = np.argsort(counts, kind="stable")
    edges = np.flatnonzero(np.diff(counts[order], prepend=-1))
    for first, last in zip(edges, [*edges[1:], len(order)], strict=True):
        k = int(counts[order[first]])
        if k < 2:
            continue
        step = max(1, MOST // (width * k))
        for begin in range(first, last, step):
            rows = order[begin : min(begin + step, last)]
            cells = pool.start[rows][:, None] + np.arange(k)
            higher = np.diff(pool.value[cells], axis=1) > tie_tolerance
            level = np.concatenate([np.zeros((len(rows), 1), dtype=np.int64), higher.cumsum(axis=1)], axis=1)
            yield CellBlock(cells, pool.model[cells].astype(np.int64), level)
