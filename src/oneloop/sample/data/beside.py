"""Pictures that a data file names by paths that begin at its own folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("image", "images")
HELD = ("image", "image_url", "path", "url")
"""Keys under which a picture, or a part of a message, names a file."""


def folder_of(path: str) -> Path:
    """The folder of a data file or of the files of a pattern; a folder is its own."""
    whole = Path(path)
    if "*" in path:
        return next(folder for folder in whole.parents if "*" not in str(folder))
    return whole if whole.is_dir() else whole.parent


def found(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`row` with paths of pictures that are in `folder`, and not where they would be without it."""
    changed = {name: _picture(row[name], folder) for name in COLUMNS if row.get(name) is not None}
    if isinstance(row.get("prompt"), list):
        changed["prompt"] = [_turn(turn, folder) for turn in row["prompt"]]
    return {**row, **changed}


def _turn(turn: Any, folder: Path) -> Any:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), list):
        return turn
    return {**turn, "content": [_picture(part, folder) for part in turn["content"]]}


def _picture(value: Any, folder: Path) -> Any:
    if isinstance(value, list | tuple):
        return [_picture(each, folder) for each in value]
    if isinstance(value, Mapping):
        named = {} if value.get("type") == "text" else {key: value[key] for key in HELD if key in value}
        return {**value, **{key: _picture(name, folder) for key, name in named.items()}}
    if not isinstance(value, str) or not value or "://" in value or value.startswith("data:"):
        return value
    beside = os.path.join(folder, value)  # of an absolute path the path itself
    return beside if not os.path.isfile(value) and os.path.isfile(beside) else value
