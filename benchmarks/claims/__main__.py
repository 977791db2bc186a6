"""`python -m benchmarks.claims NAME`: a paper's claim against its baseline at small scale, recorded."""

import json
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.claims.registry import run_claim

app = typer.Typer(add_completion=False)


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="Claim, e.g. otr; a file of benchmarks/claims")],
    seeds: Annotated[int, typer.Option(min=1, help="Independent repetitions.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="Seeds that run at once, each in a process.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the seeds of runs/claims/NAME.")] = False,
) -> None:
    """Run a paper's claim against its baseline at small scale and record what was measured.

    Example: python -m benchmarks.claims otr --seeds 5
    """
    Console().print_json(json.dumps(run_claim(name, seeds, workers=workers, resume=resume)))


if __name__ == "__main__":
    app()
