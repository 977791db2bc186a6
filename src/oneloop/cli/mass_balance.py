"""BroRL's figure (arXiv 2510.01180): where probability mass goes with N rollouts a step, as table and SVG."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from oneloop.cli.counted import Count, counted
from oneloop.cli.options import fields_of
from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_file
from oneloop.measure.width.closed_forms import unsampled_second_moment_bound
from oneloop.measure.width.token_simulator import Record, TokenSimulator
from oneloop.recipe.faults import faults
from oneloop.recipe.reading import RecipeError
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, write_figure

POINTS = 25
"""Most points of each curve after its start; few enough to be drawn as they are."""
WIDTHS = [4, 8, 16, 512, 51_200]


@fields_of(TokenSimulator, without=("rollouts",))
def mass_balance(
    make: Callable[..., TokenSimulator],
    rollouts: Annotated[
        list[int] | None, typer.Option(min=1, help=f"Rollouts a step; repeatable; default {WIDTHS}.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="How many updates.")] = 1000,
    out: Annotated[Path, typer.Option(help="Where to write the figure, an SVG.", callback=new_file)] = Path(
        "mass-balance.svg"
    ),
) -> None:
    """Simulate where probability goes with N rollouts.

    Prints a table and plots BroRL's figure.

    Example: oneloop mass-balance --rollouts 4 --rollouts 512 --steps 200 --vocabulary 20000 --correct 1500
    """
    widths = rollouts or WIDTHS
    try:
        simulators = [make(rollouts=n) for n in widths]
    except ValidationError as error:
        raise RecipeError(faults(error, "mass-balance", TokenSimulator)) from None
    histories: list[list[Record]] = []
    with counted(console, "steps", len(simulators) * steps) as count:
        for simulator in simulators:
            histories.append(_history(simulator, steps, len(histories) * steps, count))
    console.print(table(widths, histories))
    first = simulators[0]
    about = (
        f"{first.vocabulary:,} tokens, {first.correct:,} correct; AdamW, rate {first.learning_rate:g}, "
        f"weight decay {first.weight_decay:g}, eps {first.eps:g}; surrogate "
        f"{first.surrogate}; seed {first.seed}"
    )
    title = "Probability mass of the correct tokens by rollouts a step"
    path = write_figure(out, title, about, panels(widths, histories), steps)
    say(f"figure: {path}")


def _history(simulator: TokenSimulator, steps: int, before: int, count: Count) -> list[Record]:
    """What `simulator` does in so many steps; `count` is told of each, `before` having been made already."""
    note = f"N = {simulator.rollouts:,}"
    return simulator.run(steps, -(-steps // POINTS), lambda step: count(before + step, note))


def table(widths: Sequence[int], histories: Sequence[Sequence[Record]]) -> Table:
    """One row each N: Q at both ends, correct tokens that rose, the worst fall, and what stays unsampled."""
    made = Table(title="probability mass of the correct tokens", title_justify="left")
    for column in ("N", "Q start", "Q end", "improved", "worst change", "unsampled p² at most"):
        made.add_column(column, justify="right")
    for n, history in zip(widths, histories, strict=True):
        first, last = history[0], history[-1]
        made.add_row(
            f"{n:,}",
            f"{first['q_pos']:.4f}",
            f"{last['q_pos']:.4f}",
            f"{100 * last['improved']:.1f} %",
            f"{last['worst']:+.1e}",
            f"{unsampled_second_moment_bound(n):.1e}",
        )
    return made


def panels(widths: Sequence[int], histories: Sequence[Sequence[Record]]) -> list[Panel]:
    """Q, and the share of correct tokens likelier than at the start, over steps."""

    def lines(column: str) -> list[Curve]:
        return [
            Curve(f"N = {n:,}", colour(place), [(record["step"], record[column]) for record in history])
            for place, (n, history) in enumerate(zip(widths, histories, strict=True))
        ]

    return [
        Panel("q", "Q", "Probability of all correct tokens, by step.", lines("q_pos")),
        Panel(
            "improved", "Improved", "Correct tokens likelier than before.", lines("improved"), percent=True
        ),
    ]
