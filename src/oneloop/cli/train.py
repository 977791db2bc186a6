"""`oneloop train`: checks a recipe, runs it, and says at its end what was learned and where it stands."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from oneloop.cli.terminal import console, load, say
from oneloop.cli.written import new_folder
from oneloop.core.storage import replace_file
from oneloop.parallel.ranks.join import joined
from oneloop.parallel.ranks.world import Followed, World
from oneloop.recipe import text
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor import diagnose
from oneloop.run.directories import RUNS, free_directory, to_resume
from oneloop.run.memory.estimate import demands, estimate
from oneloop.run.preflight import is_here, left_out, preflight
from oneloop.run.progress import Show, closing_table
from oneloop.run.record import read_lines
from oneloop.run.run import Run
from oneloop.run.terminal import Terminal
from oneloop.run.trackers import require


def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file, or the name of a recipe that ships.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="path=value, e.g. learner.learning_rate=1e-4")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Run directory; the default is runs/<recipe>, then -2 ...", callback=new_folder),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run, or with the newest of this recipe.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Resume although data or code has changed since.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed that replaces the recipe's.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check, write the resolved recipe, estimate memory; no training."),
    ] = False,
    log_completions: Annotated[
        int, typer.Option(min=0, metavar="N", help="Print N completions with every progress line.")
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only warnings, alarms and errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Print a line for every step, with times of its stages.")
    ] = False,
) -> None:
    """Run a recipe: a file, or the name of one that ships.

    Options of other trainers (num_generations, beta ...) are taken, and what they became is said.

    Example: oneloop train tiny learner.learning_rate=1e-3 --seed 1
    """
    console.quiet = quiet
    context.call_on_close(lambda: setattr(console, "quiet", False))
    given = [*(overrides or []), *context.args, *([f"seed={seed}"] if seed is not None else [])]
    try:
        with joined() as world:
            console.quiet = quiet or world.rank > 0
            warnings = Terminal(stderr=True) if quiet else None
            show = Show(console, verbose=verbose, completions=log_completions, warnings=warnings)
            loaded = _load(world, recipe, given)
            if dry_run:
                return check_only(loaded, run) if world.rank == 0 else None
            newest = to_resume if resume else lambda _, found: free_directory(found.name)
            directory = world.first(lambda: run or newest(recipe, loaded))
            if world.rank == 0 and (needed := estimate(loaded)):
                say(needed.sentence)
            show = show if world.rank == 0 else Show.silent()
            running = Run(loaded, directory, resume, show, accept_changes, world)
            say(f"run directory: {directory}")
            carry_out(running)
    except Followed:  # rank 0 says what has stopped it
        raise typer.Exit(2) from None


def _load(world: World, source: Path, given: Sequence[str]) -> Recipe:
    """The recipe; what is wrong with it is said once."""
    found: list[Recipe] = []
    world.first(lambda: found.append(load(source, given)))
    loaded = found[0] if found else load(source, given)
    if loaded.paper:
        say(f"recipe {loaded.name}: {loaded.paper}")
    return loaded


def carry_out(run: Run) -> None:
    """Trains and prints the end; of a run that is stopped also how to go on. Raises what the run raised."""
    try:
        run.train()
    except Followed:
        raise
    except BaseException:
        try:
            summary(run)
        except Exception as failed:  # it must not take the place of what stopped the run
            say(f"no summary: {type(failed).__name__}: {failed}")
        finally:  # a second Ctrl-C cuts the summary short, not this
            recipe = quote(str(run.directory / "recipe.yaml"))
            how = f"stopped. To go on: oneloop train {recipe} --resume"
            run.show.warnings.print(how, markup=False, highlight=False, soft_wrap=True)
        raise
    if run.world.rank == 0:
        summary(run)


def check_only(recipe: Recipe, directory: Path | None) -> None:
    """Has the policy look at its model and data, writes the resolved recipe and prints the estimate."""
    require(recipe.trackers)
    outline = recipe.outline
    seen = [demand for demand in demands(recipe) if is_here(demand.data)]
    preflight(recipe, remote=False)
    for note in [*outline.notes(seen), *left_out(recipe, outline, remote=False)]:
        say(note)
    needed = estimate(recipe)
    path = directory / "resolved.yaml" if directory else RUNS / f"{recipe.name}.resolved.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.written(recipe))
    say(f"the recipe is valid; every option written out: {path}")
    if needed:
        console.print(needed.table())
        say(needed.sentence)


def summary(run: Run) -> None:
    """Prints the doctor's sentences, held-out scores by phase, tokens, time, and the path of the report."""
    lines = read_lines(run.directory / "metrics.jsonl")
    evaluations = [line for line in lines if line["kind"] == "eval"]
    steps = [line for line in lines if line["kind"] == "step"]
    for finding in diagnose(steps):
        run.show.finding(finding.level, finding.sentence)
    if evaluations:
        console.print(closing_table(evaluations))
    if steps:
        last = steps[-1]
        tokens = f"{last['num_tokens']:,} tokens sampled, {last['trained_tokens']:,} trained"
        console.print(f"{len(steps)} steps, {tokens}, {last['time']:.0f} s")
        say(f"report: {run.report}")
