"""Where runs are: a new folder for each, and the one that a recipe's run goes on in."""

from pathlib import Path
from typing import Any

from oneloop.recipe import text
from oneloop.recipe.recipe import Recipe
from oneloop.run.resuming import same_run

RUNS = Path("runs")


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
