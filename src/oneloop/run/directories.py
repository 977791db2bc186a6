"""Where runs are: a new folder for each, and the one that a recipe's run goes on in."""

from pathlib import Path
from typing import Any

from oneloop.recipe import text
from oneloop.recipe.recipe import Recipe

RUNS = Path("runs")


def free_directory(name: str, parent: Path = RUNS) -> Path:
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
    loaded = text.read(path)
    return loaded.get("name") if isinstance(loaded, dict) else None
