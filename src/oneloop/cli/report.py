"""`oneloop report`: the page of a run, written again."""

from pathlib import Path
from typing import Annotated

import typer

from oneloop.cli.terminal import say
from oneloop.report import write_report


def report(run: Annotated[Path, typer.Argument(help="Run directory.")]) -> None:
    """Write the HTML report of a run again.

    Example: oneloop report runs/tiny
    """
    say(f"report: {write_report(run)}")
