"""`python -m benchmarks.claims NAME`: a paper's claim against tuned rivals at small scale, recorded."""

import json
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.claims.running import confirm, run_claim, run_quickly

app = typer.Typer(add_completion=False)


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="Claim, e.g. otr; a file of benchmarks/claims")],
    seeds: Annotated[int, typer.Option(min=1, help="Independent repetitions.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="Runs that go at once, each in a process.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is in runs/claims/NAME.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed at known settings; nothing is recorded.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--confirm",
            help="Run seed 0 again; if it is as stored, or as by the earlier code, nothing is stale.",
        ),
    ] = False,
) -> None:
    """Run a paper's claim against tuned rivals at small scale and record what was measured.

    Example: python -m benchmarks.claims otr --seeds 5
    """
    if again:
        other = confirm(name)
        Console().print("\n".join(["came out otherwise:", *other]) if other else "seed 0 came out as it was")
        raise typer.Exit(int(bool(other)))
    found = run_quickly(name) if quick else run_claim(name, seeds, workers=workers, resume=resume)
    Console().print_json(json.dumps(found))


if __name__ == "__main__":
    app()
