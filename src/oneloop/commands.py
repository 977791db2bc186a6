"""What the commands of `cli.py` do. Imports of heavy libraries happen here, not when the program starts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oneloop.checkpoint import checkpoints
from oneloop.learner import NotFinite
from oneloop.part import UnknownName
from oneloop.plan.plan import DrySource
from oneloop.recipe import Recipe, RecipeError, load_recipe, resolved
from oneloop.record import read_lines
from oneloop.report import write_report
from oneloop.run import Alarm, Run
from oneloop.show import Show, closing_table


def user_faults() -> tuple[type[Exception], ...]:
    """Errors whose message is all a user needs."""
    return (RecipeError, UnknownName, DrySource, Alarm, NotFinite, OSError, ValueError)


def train_recipe(
    source: Path,
    overrides: Sequence[str],
    directory: Path | None,
    resume: bool,
    dry_run: bool,
    console: Console,
) -> None:
    """Loads, runs and reports."""
    recipe, notes = load_recipe(source, overrides)
    for note in notes:
        console.print(f"accepted {note}", highlight=False)
    directory = directory or (
        newest_run(recipe.name) if resume else free_directory(Path("runs"), recipe.name)
    )
    if dry_run:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "recipe.yaml").write_text(resolved(recipe))
        console.print(f"the recipe is valid; resolved: {directory / 'recipe.yaml'}")
        return
    if resume and not checkpoints(directory):
        console.print(f"{directory} has no checkpoint yet; its journal is used from the first step")
    console.print(f"run directory: {directory}")
    run = Run(recipe, directory, resume, Show(console))
    try:
        run.train()
    finally:
        path = write_report(directory)
    summary(directory, console)
    console.print(f"report: {path}")


def summary(directory: Path, console: Console) -> None:
    """The closing table: accuracy by phase, tokens, time."""
    lines = read_lines(directory / "metrics.jsonl")
    evaluations = [line for line in lines if line["kind"] == "eval"]
    steps = [line for line in lines if line["kind"] == "step"]
    if evaluations:
        console.print(closing_table(evaluations))
    if steps:
        last = steps[-1]
        console.print(
            f"{len(steps)} steps, {last['num_tokens']:,} tokens sampled, {last['trained_tokens']:,} trained, "
            f"{last['time']:.0f} s"
        )


def free_directory(parent: Path, name: str) -> Path:
    """`parent/name`, or `name-2`, `name-3` ... : a run directory is never overwritten."""
    taken = [parent / name, *(parent / f"{name}-{number}" for number in range(2, 10_000))]
    return next(path for path in taken if not path.exists())


def newest_run(name: str) -> Path:
    """The newest run directory of a recipe; FileNotFoundError when there is none."""
    found = [path for path in Path("runs").glob(f"{name}*") if (path / "recipe.yaml").exists()]
    if not found:
        raise FileNotFoundError(f"no run of '{name}' in runs/ to resume; give --run DIRECTORY")
    return max(found, key=lambda path: path.stat().st_mtime)


def show_methods(as_json: bool, console: Console) -> None:
    """The method index."""
    from oneloop.measure.claims import methods

    found: list[dict[str, Any]] = methods()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table()
    for column in ("name", "paper", "recipe", "parts", "claim", "measured"):
        table.add_column(column)
    for method in found:
        table.add_row(
            *(
                str(method.get(column, "") or "")
                for column in ("name", "paper", "recipe", "parts", "claim", "measured")
            )
        )
    console.print(table)


def run_paper_claim(name: str, seeds: int, console: Console) -> None:
    """Measures a claim and writes it to benchmarks/results."""
    from oneloop.measure.claims import run_claim

    console.print_json(json.dumps(run_claim(name, seeds, Path("benchmarks/results"))))
