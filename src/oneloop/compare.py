"""`oneloop compare A B ...`: recipes over the same seeds, side by side, with paired intervals and cost.

Seed 0 of every recipe runs first, then seed 1 and so on, so that a comparison stopped early is still fair and
slow drifts of the machine hit all alike. A finished run is never run again and an interrupted one continues.

    DIR/<recipe>-seed0/ ...  a run directory each       DIR/compare.json  everything in the table
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from oneloop.measure.paired import paired_bootstrap
from oneloop.recipe import Recipe, RecipeError, load_recipe
from oneloop.record import read_lines
from oneloop.run import Run, claim_directory
from oneloop.show import Show
from oneloop.storage import replace_file

MODES = ("greedy", "sampled")
COSTS = ("num_tokens", "trained_tokens", "time")
Measured = dict[str, float]


def compare(
    sources: Sequence[Path],
    overrides: Sequence[str],
    seeds: int,
    directory: Path,
    show: Callable[[str], Show],
) -> list[dict[str, Any]]:
    """One row a recipe (see `rows`), also written to `directory`/compare.json.

    `show` makes what one run draws on, from its title. Raises RecipeError with the faults of all recipes.
    """
    recipes = load_all(sources, overrides, seeds)
    measured: dict[str, list[Measured]] = {name: [] for name in recipes}
    for seed in range(seeds):
        for name, by_seed in recipes.items():
            recipe, run = by_seed[seed], directory / f"{name}-seed{seed}"
            claim_directory(run, recipe, resume=True)  # refuses what another recipe left there
            if not finished(run, recipe):
                Run(recipe, run, resume=True, show=show(f"{name}, seed {seed}")).train()
            measured[name].append(outcome(run, recipe))
    found = rows(measured)
    replace_file(directory / "compare.json", json.dumps(found, indent=2) + "\n")
    return found


def load_all(sources: Sequence[Path], overrides: Sequence[str], seeds: int) -> dict[str, list[Recipe]]:
    """{name: its recipe with seed 0, 1, ...}. Raises RecipeError."""
    faults: list[str] = []
    recipes: dict[str, list[Recipe]] = {}
    for source in sources:
        try:
            by_seed = [load_recipe(source, [*overrides, f"seed={seed}"])[0] for seed in range(seeds)]
        except RecipeError as error:
            faults += [f"{source}: {fault}" for fault in error.faults]
            continue
        if by_seed[0].evaluate is None:
            faults.append(f"{source}: recipe.evaluate: is required, or there is nothing to compare")
        if by_seed[0].name in recipes:
            faults.append(f"{source}: recipe.name: another recipe is called '{by_seed[0].name}' too")
        recipes[by_seed[0].name] = by_seed
    if faults:
        raise RecipeError(faults)
    return recipes


def finished(run: Path, recipe: Recipe) -> bool:
    """Whether `run` holds the last evaluation of `recipe`."""
    return len(_evaluations(run, recipe)) == len(MODES)


def _evaluations(run: Path, recipe: Recipe) -> dict[str, float]:
    last = list(recipe.phases)[-1]
    return {
        line["mode"]: float(line.get("accuracy", "nan"))
        for line in read_lines(run / "metrics.jsonl")
        if line["kind"] == "eval" and line["when"] == "after" and line["phase"] == last
    }


def outcome(run: Path, recipe: Recipe) -> Measured:
    """Held-out accuracy after the last phase, greedy and sampled, and what it took."""
    steps = [line for line in read_lines(run / "metrics.jsonl") if line["kind"] == "step"]
    last = steps[-1] if steps else dict.fromkeys(COSTS, 0.0)
    return {**_evaluations(run, recipe), **{name: float(last[name]) for name in COSTS}}


def rows(measured: dict[str, list[Measured]]) -> list[dict[str, Any]]:
    """For each recipe: the mean of every number, the values by seed, and the difference to the first recipe.

    A difference is {mode: [mean, low, high]}, a 95 % bootstrap interval over the paired seeds; None where
    there is no number.
    """
    first = next(iter(measured.values()))
    found = []
    for name, runs in measured.items():
        means = {key: _number(fmean(run[key] for run in runs)) for key in (*MODES, *COSTS)}
        against = {
            mode: [_number(v) for v in paired_bootstrap([r[mode] for r in runs], [r[mode] for r in first])]
            for mode in MODES
            if runs is not first
        }
        by_seed = [{key: _number(value) for key, value in run.items()} for run in runs]
        found.append({"recipe": name, **means, "difference": against, "seeds": by_seed})
    return found


def _number(value: float) -> float | None:
    """JSON has no word for NaN."""
    return value if math.isfinite(value) else None


def table(found: Sequence[dict[str, Any]]) -> Table:
    """The rows for people."""
    seeds, first = len(found[0]["seeds"]), found[0]["recipe"]
    title = f"held-out accuracy, mean of {seeds} seeds; differences to {first} with 95 % paired intervals"
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("recipe")
    for column in ("greedy", "difference", "sampled", "difference", "tokens sampled", "trained", "seconds"):
        drawn.add_column(column, justify="right")
    for row in found:
        accuracy = [
            cell for mode in MODES for cell in (_percent(row[mode]), _range(row["difference"].get(mode)))
        ]
        drawn.add_row(row["recipe"], *accuracy, *(f"{row[cost]:,.0f}" for cost in COSTS))
    return drawn


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _range(interval: Sequence[float | None] | None) -> str:
    numbers = [f"{100 * value:+.1f}" for value in interval or () if value is not None]
    return f"{numbers[0]} ({numbers[1]} to {numbers[2]})" if len(numbers) == 3 else "".join(numbers[:1])
