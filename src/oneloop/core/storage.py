"""Nested state on disk without pickle: tensors in safetensors, everything else in JSON.

`write_state(folder, state)` stores any nesting of dicts, lists, tuples, strings, numbers, None and
tensors; `read_state(folder)` gives it back equal, with objects that were shared still shared.
A folder appears whole or not at all: it is written under a temporary name, flushed to the disk,
then renamed. Objects of other classes are refused, by name, instead of being guessed at.
"""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS = "tensors.safetensors"
STRUCTURE = "state.json"


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Calls `write(temporary)` and gives the result the name `folder`, atomically.

    A crash, a full disk or a `kill -9` at any instant leaves either no folder or the whole one.
    Raises FileExistsError when `folder` is there already, and whatever `write` raises, after cleaning up.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; a stored folder is never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        write(temporary)
        for path in temporary.rglob("*"):
            flush(path)
        flush(temporary)
        temporary.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def delete_folder(folder: Path) -> None:
    """Deletes `folder` so that nobody ever sees half of it; nothing happens when it is not there."""
    doomed = folder.with_name(f".{folder.name}.deleting")
    shutil.rmtree(doomed, ignore_errors=True)
    if folder.exists():
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def replace_file(path: Path, content: str) -> None:
    """Writes `content` to `path` so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(content, encoding="utf-8")
    flush(temporary)
    temporary.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Asks the operating system to put `path` (a file or a folder) on the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_state(folder: Path, state: Any) -> None:
    """Stores `state` in the existing `folder`. Raises TypeError naming what cannot be stored, and where."""
    tensors: dict[str, Tensor] = {}
    structure = _encode(state, "state", tensors, {})
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    (folder / STRUCTURE).write_text(json.dumps(structure))


def read_state(folder: Path) -> Any:
    """What `write_state` stored in `folder`."""
    tensors = load_file(folder / TENSORS)
    return _decode(json.loads((folder / STRUCTURE).read_text()), tensors)


def _encode(value: Any, where: str, tensors: dict[str, Tensor], seen: dict[int, str]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Tensor):
        return {"$tensor": _store(value, tensors, seen)}
    if isinstance(value, list):
        return [_encode(item, f"{where}[{i}]", tensors, seen) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [_encode(item, f"{where}[{i}]", tensors, seen) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item, f"{where}.{key}", tensors, seen) for key, item in value.items()}
        pairs = [[key, _encode(item, f"{where}[{key!r}]", tensors, seen)] for key, item in value.items()]
        return {"$dict": pairs}
    raise TypeError(
        f"{where}: cannot store a {type(value).__name__}; use dict, list, tuple, str, number or tensor"
    )


def _store(tensor: Tensor, tensors: dict[str, Tensor], seen: dict[int, str]) -> str:
    """The name of `tensor`; one that is met twice is stored once. A scalar keeps its shape."""
    if id(tensor) not in seen:
        seen[id(tensor)] = name = str(len(tensors))
        # clone: safetensors refuses two tensors that are views of one memory
        tensors[name] = tensor.detach().cpu().clone()
    return seen[id(tensor)]


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(_decode(item, tensors) for item in value["$tuple"])
    if "$dict" in value:
        return {key: _decode(item, tensors) for key, item in value["$dict"]}
    return {key: _decode(item, tensors) for key, item in value.items()}
