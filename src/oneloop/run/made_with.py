"""What a run was made with: recipe, code, data, versions. Kept from its start, and compared on resume."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneloop.core.storage import Damaged, read_entry, write_entry
from oneloop.recipe import text
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor.finding import Level
from oneloop.run import changes
from oneloop.run.resuming import as_before

FILE = Path("journal") / "made_with.entry"
"""Holds it until there is a checkpoint, below the run directory."""


def made_with(recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint of a run of `recipe` remembers."""
    return {**changes.made_with(recipe), "recipe": text.written(recipe)}


def compared(
    recipe: Recipe,
    directory: Path,
    state: dict[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    accept: bool,
) -> list[tuple[Level, str]]:
    """What has changed since the checkpoint with `state`, or without one since the start; with its level.

    With `accept`, groups whose data rows have changed leave the `state`. Raises OtherRun for another recipe,
    Changed without `accept` where data, code or models have changed.
    """
    before = state
    if before is None and (directory / FILE).exists():
        try:
            before = read_entry(directory / FILE)
        except Damaged:
            return [("warn", f"{directory / FILE} is damaged: whether code has changed is not known")]
    if before is None:
        return []
    edited = as_before(before["recipe"], recipe, history, directory / "recipe.yaml")
    return [*(("note", sentence) for sentence in edited), *changes.compared(recipe, before, accept)]


def begin(directory: Path, made: Mapping[str, Any]) -> None:
    """Keeps it for a resume before the first checkpoint."""
    write_entry(directory / FILE, {"phase": 0, **made})
