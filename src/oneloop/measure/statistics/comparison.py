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
from oneloop.measure.statistics.scores import Measure, value, written

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
    score: float
    """Accuracy, or mean reward."""


@dataclass(frozen=True)
class Trained:
    """One run, as its files tell it."""

    recipe: str
    seed: int
    final: Mapping[str, Mapping[str, Any]]
    """The evaluation after the last phase, by mode: accuracy or reward, pass_at, maj_at."""
    points: Sequence[Point]
    """All evaluations of the last phase, in order, with the one before it (nothing spent)."""
    spent: Mapping[str, float]
    """By the last phase."""
    whole: Mapping[str, float]
    """By all phases."""


def compared(
    trained: Mapping[str, Sequence[Trained]], threshold: float | None = None, measure: Measure = "accuracy"
) -> list[dict[str, Any]]:
    """One object a recipe, in the order given; JSON has no word for NaN, so those are None.

    `sampled`, `greedy`: {score, difference} of `measure`, intervals, the second against the first recipe.
    `pass_at`, `maj_at`: {k: the same}. `spent`, `whole`: mean by unit. `threshold`: what `reached` says.
    `seeds`: the numbers of each run.
    """
    first = next(iter(trained.values()))
    found = []
    for name, runs in trained.items():
        row: dict[str, Any] = {"recipe": name}
        for mode in MODES:
            mine, theirs = ([score(run, mode, measure) for run in some] for some in (runs, first))
            row[mode] = against(mine, theirs)
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
                **{mode: _number(score(run, mode, measure)) for mode in MODES},
                "spent": dict(run.spent),
            }
            for run in runs
        ]
        found.append(row)
    return found


def against(values: Sequence[float], first: Sequence[float]) -> dict[str, Interval]:
    """`score` of one recipe's seeds, and its `difference` to the first's."""
    return {
        "score": [_number(value) for value in bootstrap_mean(values)],
        "difference": [_number(value) for value in paired_bootstrap(values, first)],
    }


def score(run: Trained, mode: str, measure: Measure) -> float:
    """Held-out accuracy or reward at the end; NaN where it was not measured."""
    found = value(run.final.get(mode, {}), measure)
    return math.nan if found is None else found


def at(run: Trained, kind: str, k: str) -> float:
    """pass@k or maj@k at the end; NaN where nothing was measured."""
    return float(run.final["sampled"].get(kind, {}).get(k, [math.nan])[0])


def reached(runs: Sequence[Trained], threshold: float) -> dict[str, Any]:
    """In how many `runs` the sampled score reached `threshold`, and the median spent until then, by unit.

    The first evaluation at or above it counts; a run that never gets there counts as infinitely late, so
    that the median is None where half of the runs or more never did.
    """
    first = [
        next((p.spent for p in run.points if p.mode == MODES[0] and p.score >= threshold), None)
        for run in runs
    ]
    known = [spent for spent in first if spent is not None]
    median = {
        unit: _number(statistics.median(math.inf if spent is None else spent[unit] for spent in first))
        for unit in runs[0].spent
    }
    return {"score": threshold, "reached": len(known), "of": len(runs), "median": median}


def curve(runs: Sequence[Trained], unit: str, mode: str) -> list[tuple[float, float, float, float]]:
    """(spent, mean score, low, high) over seeds, evaluation by evaluation as far as all have them."""
    lines = [[point for point in run.points if point.mode == mode] for run in runs]
    made = []
    for column in zip(*lines, strict=False):
        mean, low, high = bootstrap_mean([point.score for point in column])
        ends = (mean, mean) if math.isnan(low) else (low, high)
        made.append((statistics.fmean(point.spent.get(unit, 0) for point in column), mean, *ends))
    return made


def sentence(rows: Sequence[Mapping[str, Any]], measure: Measure = "accuracy") -> str:
    """What a reader should take away: the best recipe, and whether chance explains its lead."""
    known = [row for row in rows if row["sampled"]["score"][0] is not None]
    if not known:
        return "Nothing was measured."
    best = max(known, key=lambda row: row["sampled"]["score"][0])
    highest = written(best["sampled"]["score"][0], measure)
    text = f"{best['recipe']} has the highest held-out {measure}, {highest}"
    if best is rows[0]:
        rest = [row for row in known if row is not best]
        clear = all((row["sampled"]["difference"][2] or 0) < 0 for row in rest)
        lead = "its lead is larger than chance explains" if clear else "its lead may be chance"
        return f"{text}; {lead if rest else 'nothing to compare with'}."
    mean, *ends = (_gap(end, measure) for end in best["sampled"]["difference"])
    unit = " points" if measure == "accuracy" else ""
    if best["sampled"]["difference"][1] is None:
        return f"{text}, {mean}{unit} above {rows[0]['recipe']}; one seed has no interval."
    chance = "" if best["sampled"]["difference"][1] > 0 else "; the interval holds 0, so this may be chance"
    return f"{text}, {mean}{unit} ({ends[0]} to {ends[1]}) above {rows[0]['recipe']}{chance}."


def _gap(difference: float | None, measure: Measure) -> str:
    if difference is None:
        return ""
    return f"{100 * difference:.1f}" if measure == "accuracy" else written(difference, measure)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
