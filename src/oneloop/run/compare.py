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

import pyarrow.parquet as pq
from rich.markup import escape
from rich.table import Table

from oneloop.core.costs import METRICS, Unit, costs_of
from oneloop.core.rooms import nearest
from oneloop.core.storage import replace_file
from oneloop.measure.ranking import Ranking, RankingError, from_long, rank
from oneloop.measure.statistics.comparison import MODES, Point, Trained, compared, sentence
from oneloop.measure.statistics.scores import Measure, measures, value
from oneloop.recipe.recipe import Recipe, RecipeError, load_recipe
from oneloop.recipe.text import to_recipe
from oneloop.report.compare_page import UNITS, amount, difference, score, write_compare_page
from oneloop.run.directories import claim_directory
from oneloop.run.progress import Show
from oneloop.run.record import read_lines
from oneloop.run.run import Run


@dataclass(frozen=True)
class Asked:
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


def asked_for(seeds: int, budget: float | None, of: str, threshold: float | None) -> Asked:
    """Options from a command line. Raises ValueError for an unknown unit, or a budget of 0."""
    unit = next((unit for unit in METRICS if unit == of), None)
    if unit is None:
        raise ValueError(f"--of: there is no unit '{of}'; {nearest(of, list(METRICS))}")
    if budget is not None and not 0 < budget < math.inf:
        raise ValueError(f"--budget: must be above 0 and finite, got {budget}")
    return Asked(seeds, budget, unit, threshold)


def compare(
    sources: Sequence[Path],
    overrides: Sequence[str],
    asked: Asked,
    directory: Path,
    show: Callable[[str], Show],
) -> dict[str, Any]:
    """Runs and compares the recipes; returns what is written to `directory`/compare.json.

    `show` makes what one run draws on, from its title. Raises RecipeError with the faults of all recipes.
    """
    recipes = load_all(sources, overrides, asked)
    for seed in range(asked.seeds):
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
    found = result(trained, recipes, asked, directory, measure)
    replace_file(directory / "compare.json", json.dumps(found, indent=1) + "\n")
    write_compare_page(directory / "compare.html", found, trained)
    return found


def load_all(sources: Sequence[Path], overrides: Sequence[str], asked: Asked) -> dict[str, list[Recipe]]:
    """{name: its recipe with seed 0, 1, ...}. Raises RecipeError."""
    faults: list[str] = []
    recipes: dict[str, list[Recipe]] = {}
    for source in sources:
        words = [*asked.overrides, *overrides]
        try:
            by_seed = [load_recipe(source, [*words, f"seed={seed}"])[0] for seed in range(asked.seeds)]
        except RecipeError as error:
            faults += [f"{source}: {fault}" for fault in error.faults]
            continue
        first = next(iter(recipes.values()), by_seed)[0]
        faults += [f"{source}: {fault}" for fault in unlike(by_seed[0], first, asked)]
        if by_seed[0].name in recipes:
            faults.append(f"{source}: recipe.name: another recipe is called '{by_seed[0].name}' too")
        recipes[by_seed[0].name] = by_seed
    if faults:
        raise RecipeError(faults)
    return recipes


def unlike(recipe: Recipe, first: Recipe, asked: Asked) -> list[str]:
    """Why `recipe` cannot be compared with `first`, in sentences."""
    spec, other = recipe.evaluate, first.evaluate
    if spec is None:
        return ["recipe.evaluate: is required, or there is nothing to compare"]
    faults = []
    for field in ("data", "judge", "size", "samples"):
        if other is not None and to_recipe(getattr(spec, field)) != to_recipe(getattr(other, field)):
            faults.append(f"recipe.evaluate.{field}: must be that of '{first.name}', to measure all alike")
    if asked.threshold is not None and not spec.every:
        faults.append("recipe.evaluate.every: must be set to find the threshold, e.g. evaluate.every=10")
    return faults


def measured(directory: Path, recipes: Mapping[str, Sequence[Recipe]]) -> Measure:
    """What the runs are compared by: accuracy, or reward where accuracy was not measured or stood still."""
    runs = [
        directory / f"{name}-seed{seed}" for name, by_seed in recipes.items() for seed in range(len(by_seed))
    ]
    lines = [line for run in runs for line in read_lines(run / "metrics.jsonl") if line["kind"] == "eval"]
    return next(iter(measures(lines)), "accuracy")


def finished(run: Path) -> bool:
    """Whether the run is over."""
    return any(line["kind"] == "summary" for line in read_lines(run / "metrics.jsonl"))


def outcome(run: Path, recipe: Recipe, name: str, seed: int, measure: Measure) -> Trained:
    """What of `measure` a finished run measured in its last phase, and what that took."""
    lines, last = read_lines(run / "metrics.jsonl"), list(recipe.phases)[-1]
    steps = [line for line in lines if line["kind"] == "step"]
    earlier = [costs_of(line) for line in steps if line["phase"] != last]
    began: Mapping[Unit, float] = earlier[-1] if earlier else {}
    evaluations = [line for line in lines if line["kind"] == "eval"]
    inside = [line for line in evaluations if line["phase"] == last]
    if not any(line["when"] == "before" for line in inside):  # a later phase starts where another ended
        inside = [line for line in evaluations if line["phase"] != last][-len(MODES) :] + inside
    total = costs_of(lines[-1])
    return Trained(
        name,
        seed,
        final={line["mode"]: line for line in inside if line["when"] == "after" and line["phase"] == last},
        points=[
            Point(line["mode"], _since(costs_of(line), began), found)
            for line in inside
            if (found := value(line, measure)) is not None
        ],
        spent=_since(total, began),
        whole=_since(total, {}),
    )


def _since(total: Mapping[Unit, float], began: Mapping[Unit, float]) -> dict[str, float]:
    return {unit: amount - began.get(unit, 0) for unit, amount in total.items()}


def result(
    trained: Mapping[str, Sequence[Trained]],
    recipes: Mapping[str, Sequence[Recipe]],
    asked: Asked,
    directory: Path,
    measure: Measure,
) -> dict[str, Any]:
    """Everything the page and the table show, as JSON holds it."""
    rows = compared(trained, asked.threshold, measure)
    spec = next(iter(recipes.values()))[0].evaluate
    assert spec is not None
    runs = [f"{name}-seed{seed}" for name in recipes for seed in range(asked.seeds)]
    ran = [json.loads((directory / run / "environment.json").read_text()) for run in runs]
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
        "seeds": asked.seeds,
        "budget": None if asked.budget is None else {asked.of: asked.budget},
        "axis": axis(rows, asked),
        "held_out": {"rows": spec.size, "samples": spec.samples},
        "papers": {name: by_seed[0].paper for name, by_seed in recipes.items()},
        "notes": notes,
        "hardware": sorted({f"{facts['device']}, {facts['cpu']}" for facts in ran}),
        "versions": sorted({f"oneloop {facts['oneloop']}, torch {facts['torch']}" for facts in ran}),
        "date": datetime.date.today().isoformat(),
    }


def axis(rows: Sequence[Mapping[str, Any]], asked: Asked) -> str:
    """The unit of the curves: that of the budget, or trained tokens where nothing was sampled."""
    return asked.of if any(row["spent"].get(asked.of) for row in rows) else "trained_tokens"


def short_of_budget(
    trained: Mapping[str, Sequence[Trained]], recipes: Mapping[str, Sequence[Recipe]]
) -> list[str]:
    """A sentence for each recipe whose steps, or data, ran out before its budget did."""
    notes = []
    for name, runs in trained.items():
        phase = list(recipes[name][0].phases.values())[-1]
        for unit, most in phase.budget.items():
            shares = [run.spent.get(unit, 0) / most for run in runs]
            if min(shares) < 1:
                notes.append(
                    f"{name} ended after its {phase.steps} steps with {min(shares):.0%} of its {most:g} "
                    f"{unit.replace('_', ' ')} spent, so it was not at the budget: set steps= higher."
                )
    return notes


def held_out_ranking(directory: Path, runs: Sequence[str], measure: Measure) -> Ranking | None:
    """The runs' final models ranked on single held-out prompts, by the mean verdict on their samples."""
    table: dict[str, list[Any]] = {"model": [], "sample_id": [], "score": [], "text": []}
    for run in runs:
        (path,) = (directory / run / "held_out").glob(f"{_last(directory / run)}-{MODES[0]}.parquet")
        rows = pq.read_table(path).to_pylist()
        for key in sorted({row["key"] for row in rows}):
            mine = [row for row in rows if row["key"] == key]
            scores = [row["correct" if measure == "accuracy" else "reward"] for row in mine]
            scores = [score for score in scores if score is not None and score == score]
            if scores:
                table["model"].append(run)
                table["sample_id"].append(f"row {key}")
                table["score"].append(sum(scores) / len(scores))
                table["text"].append(mine[0]["prompt"])
    return rank(from_long(table)) if table["model"] else None


def _last(run: Path) -> str:
    return str(read_lines(run / "metrics.jsonl")[-1]["phase"])


def table(found: Mapping[str, Any]) -> Table:
    """The comparison for a terminal."""
    rows = found["recipes"]
    title = (
        f"{found['sentence']} {found['seeds']} seeds; held-out {found['measure']}, differences"
        f"{' in points' if found['measure'] == 'accuracy' else ''}, 95 % intervals paired by seed"
    )
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("recipe")
    units = [unit for unit in rows[0]["spent"] if any(row["spent"][unit] for row in rows)]
    for column in ("sampled", "difference", "greedy", "difference", *(UNITS[unit] for unit in units)):
        drawn.add_column(column, justify="right")
    for row in rows:
        cells = []
        for mode in MODES:
            cells.append(_cell(*score(row[mode]["score"], found["measure"])))
            cells.append(
                "" if row is rows[0] else _cell(*difference(row[mode]["difference"], found["measure"]))
            )
        drawn.add_row(escape(row["recipe"]), *cells, *(amount(row["spent"][unit]) for unit in units))
    return drawn


def _cell(value: str, interval: str) -> str:
    return f"{value}\n{interval}" if interval else value
