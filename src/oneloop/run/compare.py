"""`oneloop compare A B ...`: recipes over the same seeds at an equal budget, side by side, with intervals.

Seed 0 of every recipe runs first, then seed 1 and so on, so that a comparison stopped early is still fair and
slow drifts of the machine hit all alike. A finished run is never run again and an interrupted one continues.
A budget is that of the last phase (`Phase.budget`, counted in costs.py); earlier ones are the recipe's own.

    DIR/<recipe>-seed0/ ...  a run directory each     DIR/compare.json  every number     DIR/compare.html
"""

import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneloop.core.costs import METRICS, Unit
from oneloop.core.rooms import nearest
from oneloop.core.storage import replace_file
from oneloop.measure.ranking import Ranking, RankingError
from oneloop.measure.statistics.comparison import Trained, compared, sentence
from oneloop.measure.statistics.scores import Measure
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.recipe.text import to_recipe
from oneloop.report.compare_page import write_compare_page
from oneloop.run.directories import claim_directory
from oneloop.run.outcome import held_out_ranking, measured, outcome, short_of_budget
from oneloop.run.progress import Show
from oneloop.run.record import read_lines
from oneloop.run.run import Run


@dataclass(frozen=True)
class CompareOptions:
    """Options of a comparison."""

    seeds: int = 3
    budget: float | None = None
    """Budget of the last phase of each run; None: each recipe's own."""
    of: Unit = "sampled_tokens"
    """The unit of the budget, and of the axis of the curves."""
    threshold: float | None = None
    """Held-out sampled accuracy whose cost is reported; None: no such report."""

    @property
    def overrides(self) -> list[str]:
        """The budget as an override."""
        return [] if self.budget is None else [f"budget={{{self.of}: {self.budget!r}}}"]


def compare_options(seeds: int, budget: float | None, of: str, threshold: float | None) -> CompareOptions:
    """Options from a command line. Raises ValueError for an unknown unit, or a budget of 0."""
    unit = next((unit for unit in METRICS if unit == of), None)
    if unit is None:
        raise ValueError(f"--of: there is no unit '{of}'; {nearest(of, list(METRICS))}")
    if budget is not None and not 0 < budget < math.inf:
        raise ValueError(f"--budget: must be above 0 and finite, got {budget}")
    return CompareOptions(seeds, budget, unit, threshold)


def compare(
    sources: Sequence[Path],
    overrides: Sequence[str],
    options: CompareOptions,
    directory: Path,
    show: Callable[[str], Show],
) -> dict[str, Any]:
    """Runs and compares the recipes; returns what is written to `directory`/compare.json.

    `show` makes what one run draws on, from its title. Raises RecipeError with the faults of all recipes.
    """
    recipes = load_all(sources, overrides, options)
    for seed in range(options.seeds):
        for name, by_seed in recipes.items():
            recipe, run = by_seed[seed], directory / f"{name}-seed{seed}"
            changed = claim_directory(run, recipe, resume=True)  # refuses what another recipe left there
            if changed or not finished(run):
                Run(recipe, run, resume=True, show=show(f"{name}, seed {seed}")).train()
    measure = measured(directory, recipes)
    trained = {
        name: [
            outcome(directory / f"{name}-seed{n}", recipe, name, n, measure)
            for n, recipe in enumerate(by_seed)
        ]
        for name, by_seed in recipes.items()
    }
    found = result(trained, recipes, options, directory, measure)
    replace_file(directory / "compare.json", json.dumps(found, indent=1) + "\n")
    write_compare_page(directory / "compare.html", found, trained)
    return found


def load_all(
    sources: Sequence[Path], overrides: Sequence[str], options: CompareOptions
) -> dict[str, list[Recipe]]:
    """{name: its recipe with seed 0, 1, ...}. Raises RecipeError."""
    faults: list[str] = []
    recipes: dict[str, list[Recipe]] = {}
    for source in sources:
        words = [*options.overrides, *overrides]
        try:
            by_seed = [load_recipe(source, [*words, f"seed={seed}"])[0] for seed in range(options.seeds)]
        except RecipeError as error:
            faults += [f"{source}: {fault}" for fault in error.faults]
            continue
        first = next(iter(recipes.values()), by_seed)[0]
        faults += [f"{source}: {fault}" for fault in unlike(by_seed[0], first, options)]
        if by_seed[0].name in recipes:
            faults.append(f"{source}: recipe.name: another recipe is called '{by_seed[0].name}' too")
        recipes[by_seed[0].name] = by_seed
    if faults:
        raise RecipeError(faults)
    return recipes


def unlike(recipe: Recipe, first: Recipe, options: CompareOptions) -> list[str]:
    """Why `recipe` cannot be compared with `first`, in sentences."""
    spec, other = recipe.evaluate, first.evaluate
    if spec is None:
        return ["recipe.evaluate: is required, or there is nothing to compare"]
    faults = []
    for field in ("data", "judge", "size", "samples"):
        if other is not None and to_recipe(getattr(spec, field)) != to_recipe(getattr(other, field)):
            faults.append(f"recipe.evaluate.{field}: must be that of '{first.name}', to measure all alike")
    if options.threshold is not None and not spec.every:
        faults.append("recipe.evaluate.every: must be set to find the threshold, e.g. evaluate.every=10")
    return faults


def finished(run: Path) -> bool:
    """Whether the run is over."""
    return any(line["kind"] == "summary" for line in read_lines(run / "metrics.jsonl"))


def result(
    trained: Mapping[str, Sequence[Trained]],
    recipes: Mapping[str, Sequence[Recipe]],
    options: CompareOptions,
    directory: Path,
    measure: Measure,
) -> dict[str, Any]:
    """Everything the page and the table show, as JSON holds it."""
    rows = compared(trained, options.threshold, measure)
    spec = next(iter(recipes.values()))[0].evaluate
    assert spec is not None
    runs = [f"{name}-seed{seed}" for name in recipes for seed in range(options.seeds)]
    ran = [json.loads((directory / run / "environment.json").read_text(encoding="utf-8")) for run in runs]
    notes = short_of_budget(trained, recipes)
    try:
        ranking: Ranking | None = held_out_ranking(directory, runs, measure)
        notes += ranking.notes if ranking is not None else ()
    except RankingError as error:
        ranking, notes = None, [*notes, f"no ranking: {error}"]
    return {
        "sentence": sentence(rows, measure),
        "measure": measure,
        "recipes": rows,
        "ranking": [] if ranking is None else ranking.rows(),
        "seeds": options.seeds,
        "budget": None if options.budget is None else {options.of: options.budget},
        "axis": axis(rows, options),
        "held_out": {"rows": spec.size, "samples": spec.samples},
        "papers": {name: by_seed[0].paper for name, by_seed in recipes.items()},
        "notes": notes,
        "hardware": sorted({f"{facts['device']}, {facts['cpu']}" for facts in ran}),
        "versions": sorted({f"oneloop {facts['oneloop']}, torch {facts['torch']}" for facts in ran}),
        "date": datetime.date.today().isoformat(),
    }


def axis(rows: Sequence[Mapping[str, Any]], options: CompareOptions) -> str:
    """The unit of the curves: that of the budget, or trained tokens where nothing was sampled."""
    return options.of if any(row["spent"].get(options.of) for row in rows) else "trained_tokens"
