"""Recipes side by side, from what their runs measured: means, paired differences, pass@k, thresholds.

    S seeds: one run of every recipe for each      spent: what the last phase of a run took, by unit

Everything against the first recipe is paired by seed, since seed s of every recipe starts from the same
weights and meets the same draws; the 95 % intervals resample the seeds (paired.py says how far to trust
few of them).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oneloop.measure.statistics.paired import bootstrap_mean, paired_bootstrap

MODES = ("sampled", "greedy")
"""How held-out answers are drawn; the first is the law that is trained."""
Interval = list[float | None]
"""[mean, low, high] at 95 %; None: there is no number."""


@dataclass(frozen=True)
class Point:
    """One held-out evaluation in the last phase of a run, or just before it."""

    mode: str
    spent: Mapping[str, float]
    """What the phase had taken by then, by unit."""
    accuracy: float


@dataclass(frozen=True)
class Trained:
    """One run, as its files tell it."""

    recipe: str
    seed: int
    final: Mapping[str, Mapping[str, Any]]
    """The evaluation after the last phase, by mode: accuracy, pass_at, maj_at."""
    points: Sequence[Point]
    """All evaluations of the last phase, in order, with the one before it (nothing spent)."""
    spent: Mapping[str, float]
    """By the last phase."""
    whole: Mapping[str, float]
    """By all phases."""


def compared(
    trained: Mapping[str, Sequence[Trained]], threshold: float | None = None
) -> list[dict[str, Any]]:
    """One object a recipe, in the order given; JSON has no word for NaN, so those are None.

    `sampled`, `greedy`: {accuracy, difference}, intervals, the second against the first recipe. `pass_at`,
    `maj_at`: {k: the same}. `spent`, `whole`: mean by unit. `threshold`: what `reached` says. `seeds`: the
    numbers of each run.
    """
    first = next(iter(trained.values()))
    found = []
    for name, runs in trained.items():
        row: dict[str, Any] = {"recipe": name}
        for mode in MODES:
            row[mode] = against([accuracy(run, mode) for run in runs], [accuracy(run, mode) for run in first])
        for kind in ("pass_at", "maj_at"):
            row[kind] = {
                k: against([at(run, kind, k) for run in runs], [at(run, kind, k) for run in first])
                for k in runs[0].final["sampled"].get(kind, {})
            }
        for spent in ("spent", "whole"):
            costs = [getattr(run, spent) for run in runs]
            row[spent] = {unit: statistics.fmean(cost[unit] for cost in costs) for unit in costs[0]}
        row["threshold"] = None if threshold is None else reached(runs, threshold)
        row["seeds"] = [
            {
                "seed": run.seed,
                **{mode: _number(accuracy(run, mode)) for mode in MODES},
                "spent": dict(run.spent),
            }
            for run in runs
        ]
        found.append(row)
    return found


def against(values: Sequence[float], first: Sequence[float]) -> dict[str, Interval]:
    """`accuracy` of one recipe's seeds, and its `difference` to the first's."""
    return {
        "accuracy": [_number(value) for value in bootstrap_mean(values)],
        "difference": [_number(value) for value in paired_bootstrap(values, first)],
    }


def accuracy(run: Trained, mode: str) -> float:
    """Held-out accuracy at the end; NaN where nothing was measured."""
    value = run.final.get(mode, {}).get("accuracy")
    return math.nan if value is None else float(value)


def at(run: Trained, kind: str, k: str) -> float:
    """pass@k or maj@k at the end; NaN where nothing was measured."""
    return float(run.final["sampled"].get(kind, {}).get(k, [math.nan])[0])


def reached(runs: Sequence[Trained], threshold: float) -> dict[str, Any]:
    """In how many `runs` sampled accuracy reached `threshold`, and the median spent until then, by unit.

    The first evaluation at or above it counts; a run that never gets there counts as infinitely late, so
    that the median is None where half of the runs or more never did.
    """
    first = [
        next((p.spent for p in run.points if p.mode == MODES[0] and p.accuracy >= threshold), None)
        for run in runs
    ]
    known = [spent for spent in first if spent is not None]
    median = {
        unit: _number(statistics.median(math.inf if spent is None else spent[unit] for spent in first))
        for unit in runs[0].spent
    }
    return {"accuracy": threshold, "reached": len(known), "of": len(runs), "median": median}


def curve(runs: Sequence[Trained], unit: str, mode: str) -> list[tuple[float, float, float, float]]:
    """(spent, mean accuracy, low, high) over seeds, evaluation by evaluation as far as all have them."""
    lines = [[point for point in run.points if point.mode == mode] for run in runs]
    made = []
    for column in zip(*lines, strict=False):
        mean, low, high = bootstrap_mean([point.accuracy for point in column])
        ends = (mean, mean) if math.isnan(low) else (low, high)
        made.append((statistics.fmean(point.spent.get(unit, 0) for point in column), mean, *ends))
    return made


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a reader should take away: the best recipe, and whether chance explains its lead."""
    known = [row for row in rows if row["sampled"]["accuracy"][0] is not None]
    if not known:
        return "Nothing was measured."
    best = max(known, key=lambda row: row["sampled"]["accuracy"][0])
    text = f"{best['recipe']} has the highest held-out accuracy, {100 * best['sampled']['accuracy'][0]:.1f} %"
    if best is rows[0]:
        rest = [row for row in known if row is not best]
        clear = all((row["sampled"]["difference"][2] or 0) < 0 for row in rest)
        lead = "its lead is larger than chance explains" if clear else "its lead may be chance"
        return f"{text}; {lead if rest else 'nothing to compare with'}."
    mean, low, high = best["sampled"]["difference"]
    if low is None:
        return f"{text}, {100 * mean:.1f} points above {rows[0]['recipe']}; one seed has no interval."
    chance = "" if low > 0 else "; the interval holds 0, so this may be chance"
    points = f"{100 * mean:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
    return f"{text}, {points} above {rows[0]['recipe']}{chance}."


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
