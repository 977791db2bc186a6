"""The command line: `oneloop train RECIPE [path=value ...]` and what helps around it."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    help="Train generative models from sampled experience: one loop, five stages, methods as recipes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 120)
Overrides = Annotated[list[str] | None, typer.Argument(help="path=value, e.g. learner.learning_rate=1e-4")]
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


class Refused(Exception):
    """Something the user can mend; shown as a sentence, never as a traceback."""


@app.command(context_settings=EXTRA)
def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file")],
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/<recipe>, then -2, -3 ...")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run, or the newest one.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, write the resolved recipe, estimate memory.")
    ] = False,
) -> None:
    """Run a recipe.

    Example: oneloop train recipes/quickstart.yaml learner.learning_rate=1e-3 --seed 1
    """
    from oneloop.commands import train_recipe

    given = [*(overrides or []), *pair_up(context.args)]
    train_recipe(
        recipe, [*given, *([f"seed={seed}"] if seed is not None else [])], run, resume, dry_run, console
    )


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run directory")]) -> None:
    """Write the HTML report of a run again.

    Example: oneloop report runs/quickstart
    """
    from oneloop.report import write_report

    console.print(f"report: {write_report(run)}")


@app.command("list")
def list_methods(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a paper.")] = False,
) -> None:
    """Papers, their recipes, and what their claims measured.

    Example: oneloop list --json
    """
    from oneloop.commands import show_methods

    show_methods(as_json, console)


@app.command()
def claim(
    name: Annotated[str, typer.Argument(help="Paper, e.g. otr")],
    seeds: Annotated[int, typer.Option(help="Independent repetitions.")] = 5,
) -> None:
    """Run a paper's claim against its baseline at small scale and record what was measured.

    Example: oneloop claim otr --seeds 5
    """
    from oneloop.commands import run_paper_claim

    run_paper_claim(name, seeds, console)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes.

    Example: oneloop schema > recipe.schema.json
    """
    from oneloop.schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))


@app.command()
def env() -> None:
    """Print versions and hardware, for bug reports.

    Example: oneloop env
    """
    from oneloop.environment import environment

    print(environment())


def pair_up(words: list[str]) -> list[str]:
    """`--a.b c` and `--a.b=c` as `a.b=c`."""
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and "=" not in word and rest:
            word = f"{word}={rest.pop(0)}"
        pairs.append(word)
    return pairs


def main() -> Any:
    """Entry point: faults of the user's input become sentences and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from oneloop.commands import user_faults

    try:
        return app()
    except user_faults() as error:
        console.print(f"[bold red]error[/] {error}", highlight=False, markup=True)
        sys.exit(2)
