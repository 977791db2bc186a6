"""A ranking: models from best to worst with scores, errors, intervals, places and what to know of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from oneloop.measure.ranking.pool import Floats, Integers

Method = Literal["bradley_terry", "plackett_luce", "elo", "borda", "mean", "macro_mean"]
SAME = 1e-9
"""Scores closer than this share a place."""


@dataclass(frozen=True)
class Ranking:
    """m models, component by component (the largest first), the best first in each."""

    method: Method
    models: tuple[str, ...]
    scores: Floats
    """float64 [m]; of Bradley-Terry and Plackett-Luce: log-odds, sum 0 in each component."""
    stderr: Floats
    """float64 [m], NaN where there is none."""
    low: Floats
    """float64 [m], lower end of the 95 % interval."""
    high: Floats
    """float64 [m], upper end of it."""
    component: Integers
    """int64 [m]; models of different components cannot be compared."""
    covariance: Floats | None = None
    """float64 [m, m] of the scores, where the method gives one."""
    count: Integers | None = None
    """int64 [m], measurements of each model."""
    win_rate: Floats | None = None
    """float64 [m, m], share of games won against each other model, a tie half; NaN: never compared."""
    unbeaten: tuple[str, ...] = ()
    winless: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()
    """Models in the pool without any measurement; they are not ranked."""
    notes: tuple[str, ...] = ()
    """What a reader should know, in sentences."""
    steps: int = 0
    """Newton steps taken; 0 for a method without them."""
    converged: bool = True
    log_likelihood: float = math.nan

    def __post_init__(self) -> None:
        assert len(self.models) == len(self.scores) == len(self.stderr) == len(self.component)

    @property
    def as_dict(self) -> dict[str, float]:
        """{model: score}."""
        return dict(zip(self.models, self.scores.tolist(), strict=True))

    @property
    def place(self) -> Integers:
        """int64 [m], 1 for the best of each component; scores within 1e-9 share a place."""
        better = self.scores[None, :] > self.scores[:, None] + SAME
        together = self.component[None, :] == self.component[:, None]
        return np.asarray((better & together).sum(axis=1) + 1)

    def places(self, level: float = 0.95) -> tuple[Integers, Integers] | None:
        """(best [m], worst [m]) place of each model: those it cannot be told apart from may stand before it.

        Each pair is compared at `level` on its own, with the covariance of the two. None without a
        covariance.
        """
        if self.covariance is None:
            return None
        variance = np.diag(self.covariance)
        error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * self.covariance, 0))
        clear = self.scores[None, :] - self.scores[:, None] > norm.ppf(0.5 + level / 2) * error + SAME
        clear &= self.component[None, :] == self.component[:, None]
        size = np.bincount(self.component)[self.component]
        return np.asarray(clear.sum(axis=1) + 1), np.asarray(size - clear.sum(axis=0))

    def rows(self) -> list[dict[str, Any]]:
        """One dict a model, for tables and files; None where there is no number."""
        ranges = self.places()
        rows = []
        for i, model in enumerate(self.models):
            rows.append(
                {
                    "place": int(self.place[i]),
                    "model": model,
                    "score": _number(self.scores[i]),
                    "stderr": _number(self.stderr[i]),
                    "low": _number(self.low[i]),
                    "high": _number(self.high[i]),
                    "best_place": None if ranges is None else int(ranges[0][i]),
                    "worst_place": None if ranges is None else int(ranges[1][i]),
                    "measurements": None if self.count is None else int(self.count[i]),
                    "component": int(self.component[i]),
                }
            )
        return rows

    def __str__(self) -> str:
        """A table as text: place, model, score, 95 % interval, the places still open, measurements; notes."""
        head = ("place", "model", "score", "95 % interval", "places", "measured")
        table = [head, *(_cells(row) for row in self.rows())]
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
        return "\n".join([*lines, *self.notes])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of `Ranking.rows` as text; empty where there is no number."""
    interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    best, worst = row["best_place"], row["worst_place"]
    places = "" if best is None else f"{best}" if best == worst else f"{best} to {worst}"
    measured = "" if row["measurements"] is None else f"{row['measurements']:,}"
    score = "" if row["score"] is None else f"{row['score']:.3f}"
    return str(row["place"]), row["model"], score, interval, places, measured


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def ordered(method: Method, models: tuple[str, ...], values: Mapping[str, Any], **rest: Any) -> Ranking:
    """A ranking from arrays in any order of `models`: `values` are [m] or [m, m] (or None) and are sorted."""
    order = np.lexsort((np.arange(len(models)), -values["scores"], values["component"]))

    def sort(array: Any) -> Any:
        if array is None:
            return None
        return array[np.ix_(order, order)] if array.ndim == 2 else array[order]

    arrays = {name: sort(array) for name, array in values.items()}
    return Ranking(method, tuple(models[i] for i in order), **arrays, **rest)
