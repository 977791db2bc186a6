"""Where runs are: a new folder for each, the one that a recipe's run goes on in, and who may write there."""

from pathlib import Path
from typing import Any

from oneloop.core.storage import replace_file
from oneloop.recipe import text
from oneloop.recipe.recipe import Recipe
from oneloop.report import RunDirectoryError, write_report
from oneloop.run.environment import environment
from oneloop.run.record import read_lines
from oneloop.run.resuming import same_run, take_over

RUNS = Path("runs")
OUTPUTS = ("metrics.jsonl", "rollouts", "journal")


def free_directory(name: str, parent: Path = RUNS) -> Path:
    """`parent/name`, or `name-2`, `name-3` ... : a run directory is never overwritten."""
    taken = [parent / name, *(parent / f"{name}-{number}" for number in range(2, 10_000))]
    return next(path for path in taken if not path.exists())


def to_resume(source: Path, recipe: Recipe) -> Path:
    """The run whose own recipe `source` is, else the newest run of that name that may go on as `recipe`.

    Raises FileNotFoundError when there is none of that name; the newest of them is given where none may.
    """
    if source.name == "recipe.yaml" and (source.parent / "metrics.jsonl").exists():
        return source.parent
    written = {path: _read(path) for path in RUNS.glob(f"{recipe.name}*/recipe.yaml")}
    named = {
        path: raw for path, raw in written.items() if isinstance(raw, dict) and raw.get("name") == recipe.name
    }
    if not named:
        raise FileNotFoundError(f"no run of '{recipe.name}' in {RUNS}/ to resume; give --run DIRECTORY")
    fits = [path for path, raw in named.items() if same_run(raw, recipe)]
    return max(fits or named, key=lambda path: path.stat().st_mtime).parent


def _read(path: Path) -> Any:
    """What the file says; None for one that cannot be read, which is no run to go on with."""
    try:
        return text.read(path)
    except (text.NotYaml, OSError):
        return None


def claim_directory(directory: Path, recipe: Recipe, resume: bool) -> list[str]:
    """Makes `directory` this run's; gives sentences on what a resumed run changes.

    Raises FileExistsError rather than mix two runs.
    """
    written = directory / "recipe.yaml"
    if not written.exists() and (foreign := [name for name in OUTPUTS if (directory / name).exists()]):
        raise FileExistsError(f"{directory} holds {', '.join(foreign)} but no recipe.yaml: it is not a run")
    if written.exists() and not resume:
        raise FileExistsError(
            f"{directory} holds a run already; go on with it (--resume; in Python resume=True), "
            "or give another directory (--run)"
        )
    if not written.exists():
        directory.mkdir(parents=True, exist_ok=True)
        replace_file(directory / "environment.json", environment())
        replace_file(written, text.written(recipe))
        return []
    lines = read_lines(directory / "metrics.jsonl")
    return take_over(written, recipe, [line for line in lines if line.get("kind") == "step"])


def report_of(directory: Path) -> str:
    """Writes the report of a run and gives its path, or why there is none: what the run itself raised must
    stay visible."""
    try:
        return str(write_report(directory))
    except RunDirectoryError as error:
        return f"none, {error}"
    except Exception as error:
        return f"none, it could not be written ({type(error).__name__}: {error})"
