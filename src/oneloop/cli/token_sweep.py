"""`oneloop token-sweep`: score and cost of a vision-language model at several numbers of visual tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from oneloop.cli.terminal import console, load, recipes_and_overrides, say
from oneloop.cli.written import new_file
from oneloop.judge.stage import Judging
from oneloop.recipe.reading import RecipeError
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, write_figure
from oneloop.run.checkpoint import locate
from oneloop.run.evaluation import scorers
from oneloop.run.token_sweep import BudgetRow, smallest_alike, token_sweep


def sweep(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Run directory or checkpoint folder.")],
    recipe: Annotated[
        list[str] | None, typer.Argument(help="YAML file (default: the run's own), then path=value.")
    ] = None,
    counts: Annotated[str, typer.Option(help="Visual tokens of a picture, with commas.")] = "64,144,256",
    out: Annotated[Path, typer.Option(help="Where to write the figure, an SVG.", callback=new_file)] = Path(
        "token-sweep.svg"
    ),
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows that may be answered otherwise.")
    ] = 0.05,
) -> None:
    """Measure a model at several numbers of visual tokens.

    Prints score, agreement with the largest number, prompt length, seconds and memory of each, and plots
    them; then the smallest number whose answers are those of the largest, within --tolerance.

    Example: oneloop token-sweep runs/tokenflex --counts 4,16,64
    """
    folder, beside = locate(model)
    sources, overrides = recipes_and_overrides([*(recipe or []), *context.args])
    source = sources[0] if sources else beside
    if source is None:
        raise ValueError(f"say on what to measure '{model}': a recipe with an `evaluate` section")
    loaded = load(source, overrides)
    spec = loaded.evaluate
    if spec is None:
        raise RecipeError(["recipe.evaluate: is required to evaluate a model"])
    judging, policy = Judging(scorers(loaded.evaluation_judges)), loaded.policy.open(folder)
    rows = token_sweep(policy, judging, spec.asked, numbers(counts, "--counts"), spec.size, loaded.seed)
    console.print(table(rows))
    largest, enough = max(row.count for row in rows), smallest_alike(rows, tolerance)
    say(
        f"from {enough} visual tokens on, at most {tolerance:.0%} of the answers are not those with {largest}"
    )
    about = f"{folder}, {spec.size} rows, greedy"
    path = write_figure(
        out, "Score and cost by visual tokens of a picture", about, panels(rows), rows[-1].count
    )
    say(f"figure: {path}")


def numbers(text: str, option: str) -> list[int]:
    """The numbers in `text`, in order of size. Raises ValueError, with the `option`, for other text."""
    try:
        found = sorted({int(word) for word in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise ValueError(f"{option}: got {text!r}, must be numbers from 1 on with commas, such as 64,144,256")
    return found


def table(rows: Sequence[BudgetRow]) -> Table:
    """One row each budget."""
    made = Table(title="by visual tokens of a picture (greedy, 95 % intervals)", title_justify="left")
    for column in ("tokens", "score", "agrees", "prompt tokens", "ms a row", "GPU MB"):
        made.add_column(column, justify="right")
    for row in rows:
        made.add_row(
            str(row.count),
            f"{row.score:.3f} ({row.low:.3f} to {row.high:.3f})",
            f"{row.agreement:.3f}",
            f"{row.prefill_tokens:.1f}",
            f"{1000 * row.latency:.1f}",
            "not measured" if row.memory is None else f"{row.memory / 2**20:,.0f}",
        )
    return made


def panels(rows: Sequence[BudgetRow]) -> list[Panel]:
    """Score, agreement, prompt length, latency, and memory where it was measured, over the budget."""
    shown = [
        ("score", "Score", "Greedy answers.", [row.score for row in rows]),
        (
            "agreement",
            "Agreement",
            "Share of rows answered as with the largest number.",
            [row.agreement for row in rows],
        ),
        ("prompt", "Prompt tokens", "Mean length, pictures included.", [row.prefill_tokens for row in rows]),
        ("latency", "Milliseconds a row", "Sampling alone.", [1000 * row.latency for row in rows]),
    ]
    if all(row.memory is not None for row in rows):
        taken = [(row.memory or 0) / 2**20 for row in rows]
        shown.append(("memory", "GPU MB", "Most that was taken while sampling.", taken))
    made = []
    for key, title, about, values in shown:
        points: list[tuple[float, float]] = [
            (row.count, value) for row, value in zip(rows, values, strict=True)
        ]
        made.append(Panel(key, title, about, [Curve(title, colour(0), points)]))
    return made
