"""A comparison as one HTML file that opens and prints offline: no script, no request, every number in it.

Scores with paired intervals, curves against what was spent, pass@k, cost to a threshold, cost, the ranking
on single held-out prompts, and how to do it again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneloop.core.storage import replace_file
from oneloop.measure.statistics.comparison import MODES, Trained, curve
from oneloop.measure.statistics.scores import written
from oneloop.report import plot
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import COLOURS, colour
from oneloop.report.template import filled

UNITS = {
    "sampled_tokens": "tokens sampled",
    "trained_tokens": "tokens trained",
    "network_evaluations": "network evaluations",
    "flops": "FLOPs",
    "seconds": "seconds",
}


def write_compare_page(
    path: Path, found: Mapping[str, Any], trained: Mapping[str, Sequence[Trained]]
) -> Path:
    """Writes the page of what `oneloop.run.compare` found; gives the path."""
    replace_file(path, render(found, trained))
    return path


def render(found: Mapping[str, Any], trained: Mapping[str, Sequence[Trained]]) -> str:
    """The page as text."""
    names = list(trained)
    return filled(
        "compare.html",
        ("style.css", "compare.css"),
        kind="comparison",
        title=", ".join(names),
        sentence=found["sentence"],
        found=found,
        rows=found["recipes"],
        names=names,
        colours=COLOURS,
        colour_of={name: colour(place) for place, name in enumerate(names)},
        facts=facts(found),
        spread=spread(found["recipes"]),
        drawings=drawings(found, trained),
        ranked=ranked(found["ranking"], names),
        plot=plot,
        units=UNITS,
        score=score,
        difference=difference,
        amount=amount,
    )


def facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) pairs that say how the recipes were compared."""
    budget = found["budget"] or {}
    spent = ", ".join(f"{amount(most)} {UNITS[unit]} each" for unit, most in budget.items())
    held = found["held_out"]
    return [
        ("Recipes", f"{len(found['recipes'])}"),
        ("Seeds", f"{found['seeds']}"),
        ("Budget of the last phase", spent or "as the recipes say"),
        ("Held out", f"{held['rows']:,} prompts, {held['samples']} sampled each"),
        ("Hardware", "; ".join(found["hardware"])),
        ("Date", found["date"]),
    ]


def spread(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(lowest, highest) difference the interval bars are drawn between; 0 is inside."""
    ends = [value for row in rows[1:] for value in row[MODES[0]]["difference"] if value is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.06 * (high - low) or 0.01
    return low - room, high + room


def drawings(found: Mapping[str, Any], trained: Mapping[str, Sequence[Trained]]) -> list[plot.Drawing]:
    """Held-out scores against what was spent, sampled and greedy, on one horizontal axis."""
    unit, made = found["axis"], []
    for mode in MODES:
        lines = []
        for place, (name, runs) in enumerate(trained.items()):
            values = curve(runs, unit, mode)
            marks = ["before" if spent == 0 else "during" for spent, *_ in values]
            measured = [(spent, mean) for spent, mean, _, _ in values]
            bars = [(low, high) for *_, low, high in values]
            lines.append(Curve(name, colour(place), measured, bars, marks))
        lines = [line for line in lines if line.points]
        if lines:
            made.append(
                Panel(
                    mode,
                    f"{mode.capitalize()} {found['measure']}",
                    f"Against {UNITS[unit]}.",
                    lines,
                    percent=found["measure"] == "accuracy",
                )
            )
    last = max((x for panel in made for line in panel.lines for x, _ in line.points), default=1.0)
    return [plot.draw(panel, (0.0, last), [("", 0, max(1, int(last)))]) for panel in made]


def ranked(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The ranking's rows, each with its recipe, its seed and where its interval lies (0..100)."""
    ends = [end for row in rows for end in (row["low"], row["high"], row["score"]) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    scale = 100 / ((high - low) or 1.0)
    made = []
    for row in rows:
        recipe, _, seed = str(row["model"]).rpartition("-seed")
        left, right = row["low"], row["high"]
        bar = None if left is None or right is None else ((left - low) * scale, (right - left) * scale)
        made.append({**row, "recipe": recipe, "seed": seed, "at": (row["score"] - low) * scale, "bar": bar})
    return made


def score(interval: Sequence[float | None], measure: str = "accuracy") -> tuple[str, str]:
    """("24.1 %", "20.4 to 27.8") of [mean, low, high]; empty where there is no number."""
    mean, low, high = (None if value is None else written(value, measure) for value in interval)
    if mean is None:
        return "", ""
    return mean, "" if low is None or high is None else f"{low} to {high}".replace(" %", "")


def difference(interval: Sequence[float | None], measure: str = "accuracy") -> tuple[str, str]:
    """("+5.2", "+3.1 to +7.0") of a difference; of accuracy in percentage points."""

    def signed(value: float) -> str:
        size = f"{abs(100 * value):.1f}" if measure == "accuracy" else written(abs(value), measure)
        return ("\u2212" if value < 0 else "+") + size

    shown = [None if value is None else signed(value) for value in interval]
    return shown[0] or "", "" if shown[1] is None or shown[2] is None else f"{shown[1]} to {shown[2]}"


def amount(value: float | None) -> str:
    """A cost as people read it: 2.00 M, 3.1 T, 950; "not reached" for None."""
    if value is None:
        return "not reached"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
