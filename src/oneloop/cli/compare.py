"""`oneloop compare`: recipes over the same seeds, as a table and a page."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from oneloop.cli.terminal import console, recipes_and_overrides, say
from oneloop.cli.written import new_folder
from oneloop.core.costs import Unit
from oneloop.report.compare_table import compare_table
from oneloop.run.compare import compare as run_all
from oneloop.run.compare import compare_options
from oneloop.run.directories import RUNS
from oneloop.run.progress import Show


def compare(
    context: typer.Context,
    recipes: Annotated[list[str], typer.Argument(help="YAML files, then path=value for all of them.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each recipe.")] = 3,
    budget: Annotated[
        float | None, typer.Option(help="What the last phase of each run may spend, e.g. 2e6.")
    ] = None,
    of: Annotated[Unit, typer.Option(help="Unit of the budget, and of the axis of the curves.")] = (
        "sampled_tokens"
    ),
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Report the cost of reaching this held-out accuracy.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Directory of the runs; finished ones are not repeated.", callback=new_folder),
    ] = None,
) -> None:
    """Run recipes over the same seeds at an equal budget.

    Prints differences with intervals and writes them as one HTML page.

    Example: oneloop compare sft dft otr --seeds 5 steps=50
    """
    sources, overrides = recipes_and_overrides([*recipes, *context.args])
    if len(sources) < 2:
        raise ValueError(f"compare takes at least two recipes, got {len(sources)}")
    directory = run or RUNS / f"compare-{'-'.join(source.stem for source in sources)}"

    def show(title: str) -> Show:
        console.print(f"[bold]{escape(title)}[/]", highlight=False)
        return Show(console)

    found = run_all(sources, overrides, compare_options(seeds, budget, of, threshold), directory, show)
    for note in found["notes"]:
        say(f"note: {note}")
    console.print(compare_table(found))
    say(f"page: {directory / 'compare.html'}")
