"""`python -m benchmarks.claims.shiftnas.figure`: error against cost of every arm, laws of draws over time.

It reads the runs that the claim keeps in runs/claims/, writes a figure beside them and prints paired
intervals of the worst bin's error against a uniform draw of the bin, over the seeds that both arms have.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import typer

from benchmarks.claims.claim import Row
from benchmarks.claims.intervals import interval
from benchmarks.claims.running import FINISHED
from benchmarks.claims.shiftnas.training import ARMS, BINS
from benchmarks.claims.tuning import SEEDS
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, write_figure

AGAINST, MEASURE = "per bin", "worst bin's error"
Seeds = dict[int, Row]


def finished(folder: Path) -> dict[str, Seeds]:
    """{arm: {seed: its columns}} of the seeds that are reported; an arm's last value where several ran."""
    found: dict[str, Seeds] = defaultdict(dict)
    for path in sorted(folder.glob("*.json")):
        seed = int(re.sub(r".*-", "", path.stem))
        for arm, row in json.loads(path.read_text())["rows"].items():
            if arm in ARMS and seed not in SEEDS:
                found[arm][seed] = row
    return {arm: found[arm] for arm in ARMS if len(found[arm]) > 1}


def errors_by_bin(arms: dict[str, Seeds]) -> Panel:
    """A curve with whiskers for each arm."""
    curves = []
    for place, (arm, seeds) in enumerate(arms.items()):
        by_bin = [
            interval([row[f"error in bin {number}"] for row in seeds.values()])
            for number in range(1, BINS + 1)
        ]
        points = [(float(number), mean) for number, (mean, _, _) in enumerate(by_bin, 1)]
        bars = [(low, high) for _, low, high in by_bin]
        curves.append(Curve(arm, colour(place), points, bars, [arm] * BINS))
    return Panel("errors", "test error by bin of cost", "1: the cheapest networks", curves, percent=True)


def law_of(arm: str, seeds: Seeds) -> Panel:
    """How often each bin is drawn after each quarter of the budget, a mean over the seeds."""
    curves = []
    for number in range(1, BINS + 1):
        points = [(0.0, 1 / BINS)]
        for quarter in range(1, 5):
            chances = [row[f"law at {quarter}/4, bin {number}"] for row in seeds.values()]
            points.append((3.0 * quarter, sum(chances) / len(chances)))
        curves.append(Curve(f"bin {number}", colour(number - 1), points))
    return Panel(arm, f"law of draws, {arm}", "each 3 of the axis are a quarter of the budget", curves)


def main(name: str = "shiftnas", finished_in: Path = FINISHED) -> None:
    """Write the figure of a claim and print its paired intervals."""
    arms = finished(finished_in / name)
    if AGAINST not in arms:
        raise SystemExit(f"{finished_in / name} has no two seeds of '{AGAINST}' yet")
    for arm, seeds in arms.items():
        both = sorted(seeds.keys() & arms[AGAINST].keys())
        own = interval([seeds[seed][MEASURE] for seed in seeds])
        line = f"{arm:<14} {MEASURE} {100 * own[0]:.2f} % ({100 * own[1]:.2f} to {100 * own[2]:.2f})"
        if arm != AGAINST and len(both) > 1:
            less = interval([seeds[seed][MEASURE] - arms[AGAINST][seed][MEASURE] for seed in both])
            mean, low, high = (f"{100 * value:+.2f}" for value in less)
            line += f"; less '{AGAINST}' {mean} points ({low} to {high})"
        print(f"{line}; {len(both)} seeds")
    laws = [law_of(arm, arms[arm]) for arm in ("rate", "shift") if arm in arms]
    title = "Supernet on digits: how architectures are drawn"
    path = write_figure(
        finished_in / f"{name}.svg", title, "whiskers: 95 %", [errors_by_bin(arms), *laws], BINS
    )
    print(path)


if __name__ == "__main__":
    typer.run(main)
