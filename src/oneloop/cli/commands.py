"""What the commands of `cli.py` do. Imports of heavy libraries happen here, not when the program starts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oneloop.core.storage import replace_file
from oneloop.recipe import text as recipe_text
from oneloop.recipe.faults import faults
from oneloop.recipe.overrides import pair_up
from oneloop.recipe.recipe import Recipe, RecipeError, load_recipe, resolved
from oneloop.report import RunDirectoryError, write_report
from oneloop.report.doctor import diagnose
from oneloop.run.checkpoint import locate
from oneloop.run.evaluation import held_out
from oneloop.run.memory.estimate import estimate
from oneloop.run.progress import COLOURS, Show, closing_table
from oneloop.run.record import read_lines
from oneloop.run.run import Run
from oneloop.sample.data.rows import Rows
from oneloop.sample.policies.language import Language

RUNS = Path("runs")
INDEX = Path(__file__).with_name("methods.json")
"""What the claims of `benchmarks/claims` say and measured; `.ci/method_index.py` writes it."""


def train_recipe(
    source: Path,
    overrides: Sequence[str],
    directory: Path | None,
    resume: bool,
    dry_run: bool,
    console: Console,
) -> None:
    """Loads, checks, runs and reports. Raises RecipeError, and whatever the run raises."""
    recipe = load(source, overrides, console)
    if dry_run:
        return check_only(recipe, directory, console)
    directory = directory or (to_resume(source, recipe) if resume else free_directory(RUNS, recipe.name))
    if needed := estimate(recipe):
        console.print(needed.sentence, markup=False, highlight=False)
    console.print(f"run directory: {directory}", markup=False, highlight=False)
    run = Run(recipe, directory, resume, Show(console))
    try:
        run.train()
    except BaseException as error:
        summary(directory, console)
        console.print(f"stopped. To go on: oneloop train {directory / 'recipe.yaml'} --resume", markup=False)
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise
    summary(directory, console)


def load(source: Path, overrides: Sequence[str], console: Console) -> Recipe:
    """The recipe, after saying what was taken for what."""
    recipe, notes = load_recipe(source, overrides)
    for note in notes:
        console.print(f"accepted {note}", markup=False, highlight=False)
    if recipe.paper:
        console.print(f"recipe {recipe.name}: {recipe.paper}", markup=False, highlight=False)
    return recipe


def check_only(recipe: Recipe, directory: Path | None, console: Console) -> None:
    """Writes the resolved recipe and prints the estimate."""
    path = directory / "resolved.yaml" if directory else RUNS / f"{recipe.name}.resolved.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, resolved(recipe))
    console.print(f"the recipe is valid; every option written out: {path}", markup=False, highlight=False)
    if needed := estimate(recipe):
        console.print(needed.table())
        console.print(needed.sentence, markup=False, highlight=False)


def summary(directory: Path, console: Console) -> None:
    """The end of a run: accuracy by phase, the doctor's sentences, tokens, time, the report's path."""
    lines = read_lines(directory / "metrics.jsonl")
    evaluations = [line for line in lines if line["kind"] == "eval"]
    steps = [line for line in lines if line["kind"] == "step"]
    for finding in diagnose(steps):
        console.print(
            f"[{COLOURS[finding.level]}]{finding.level}[/] {escape(finding.sentence)}", highlight=False
        )
    if evaluations:
        console.print(closing_table(evaluations))
    if steps:
        last = steps[-1]
        tokens = f"{last['num_tokens']:,} tokens sampled, {last['trained_tokens']:,} trained"
        console.print(f"{len(steps)} steps, {tokens}, {last['time']:.0f} s")
        console.print(f"report: {report_of(directory)}", markup=False, highlight=False)


def report_of(directory: Path) -> str:
    """The path of the report, or why there is none."""
    try:
        return str(write_report(directory))
    except RunDirectoryError as error:
        return f"none, {error}"


def free_directory(parent: Path, name: str) -> Path:
    """`parent/name`, or `name-2`, `name-3` ... : a run directory is never overwritten."""
    taken = [parent / name, *(parent / f"{name}-{number}" for number in range(2, 10_000))]
    return next(path for path in taken if not path.exists())


def to_resume(source: Path, recipe: Recipe) -> Path:
    """The run whose own recipe `source` is, else the newest run of a recipe of that name.

    Raises FileNotFoundError when there is none.
    """
    if source.name == "recipe.yaml" and (source.parent / "metrics.jsonl").exists():
        return source.parent
    written = [path for path in RUNS.glob(f"{recipe.name}*/recipe.yaml") if _name_in(path) == recipe.name]
    if not written:
        raise FileNotFoundError(f"no run of '{recipe.name}' in {RUNS}/ to resume; give --run DIRECTORY")
    return max(written, key=lambda path: path.stat().st_mtime).parent


def _name_in(path: Path) -> Any:
    loaded = recipe_text.read(path)
    return loaded.get("name") if isinstance(loaded, dict) else None


def recipes_and_overrides(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Words of a command line told apart: a `path=value` has a =, a file has not."""
    pairs = pair_up(list(words))
    return [Path(word) for word in pairs if "=" not in word], [word for word in pairs if "=" in word]


def sample_model(
    model: str, prompt: str, count: int, options: dict[str, Any], chat: bool, seed: int, console: Console
) -> None:
    """Prints `count` completions of `prompt`; `options` are those of the language policy."""
    try:
        policy = Language(model=locate(model)[0], **options).open()
    except ValidationError as error:
        raise RecipeError(faults(error, "sample", Language)) from None
    asked = [{"role": "user", "content": prompt}] if chat else prompt
    finished, _ = policy.sample(held_out(Rows(rows=[{"prompt": asked}]), 1, count, seed))
    for number, (text, status) in enumerate(zip(finished.text, finished.status, strict=True), start=1):
        ended = "" if status == "stop" else " (cut off at the limit)"
        console.print(f"[bold]{number}[/]{ended}  {escape(text)}", highlight=False)


def compare_recipes(words: Sequence[str], asked: Any, directory: Path | None, console: Console) -> None:
    """Runs the recipes among `words` with the overrides among them, as `asked`; prints the table."""
    from oneloop.run.compare import compare, table

    sources, overrides = recipes_and_overrides(words)
    if len(sources) < 2:
        raise ValueError(f"compare takes at least two recipes, got {len(sources)}")
    directory = directory or RUNS / f"compare-{'-'.join(source.stem for source in sources)}"

    def show(title: str) -> Show:
        console.print(f"[bold]{escape(title)}[/]", highlight=False)
        return Show(console)

    found = compare(sources, overrides, asked, directory, show)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)
    console.print(table(found))
    console.print(f"page: {directory / 'compare.html'}", markup=False, highlight=False)


def show_methods(as_json: bool, console: Console) -> None:
    """The method index."""
    found: list[dict[str, Any]] = json.loads(INDEX.read_text())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("name", "paper", "parts", "claim", "target", "measured (95 %)", "holds", "on")
    for method in found:
        measured, number, about = method["measured"], "not yet", ""
        if measured is not None:
            ends = f"{method['low']:.3g} to {method['high']:.3g}"
            number = f"{measured:.3g} ({ends}), {method['seeds']} seeds"
            about = ", ".join(filter(None, (method["date"], method["hardware"])))
        cells = (method["name"], method["paper"], ", ".join(method["parts"]), method["claim"])
        holds = {None: "", True: "yes", False: "no"}[method["holds"]]
        row = (*cells, f"{method['target']:g}", number, holds, about)
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)
