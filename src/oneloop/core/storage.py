"""Nested state on disk without pickle: tensors in safetensors, everything else in JSON.

`write_state(folder, state)` stores any nesting of dicts, lists, tuples, strings, numbers, None and
tensors; `read_state(folder)` gives it back equal, with objects that were shared still shared.
`write_entry` and `read_entry` do the same with one file. Objects of other classes are refused, by name.

A folder or file appears whole or not at all: it is written under a temporary name of its own, flushed to the
disk, then renamed. Each holds checksums of what was written, so that damage is an error and never unnoticed.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneloop.core.processes import runs

# torch is loaded where tensors are stored or read: who only handles files need not wait for it
if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "tensors.safetensors"
STRUCTURE = "state.json"
CHECKSUMS = "checksums.json"


class Damaged(ValueError):
    """What is stored is not what was written; the message names the file and how it differs."""


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Calls `write(temporary)`, adds checksums and gives the result the name `folder`, atomically.

    A crash, a full disk or a `kill -9` at any instant leaves either no folder or the whole one.
    Raises FileExistsError when `folder` is there already, and whatever `write` raises, after cleaning up.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; a stored folder is never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder, "writing")
    temporary.mkdir()
    try:
        write(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sums = {str(path.relative_to(temporary)): _checksum(path) for path in files}
        (temporary / CHECKSUMS).write_text(json.dumps(sums, indent=1))
        for path in temporary.rglob("*"):
            flush(path)
        flush(temporary)
        temporary.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check_folder(folder: Path, without: Sequence[str] = ()) -> None:
    """Raises Damaged unless every file that `write_folder` left in `folder` is there as it was written.

    `without`: folders and files in it that do not count.
    """
    try:
        sums = dict(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")).items())
    except FileNotFoundError:
        raise Damaged(f"{folder.name} has no {CHECKSUMS}") from None
    except (ValueError, AttributeError):
        raise Damaged(f"{CHECKSUMS} in {folder.name} is unreadable") from None
    for name, wanted in sums.items():
        path = folder / name
        if Path(name).parts[0] in without:
            continue
        if not path.is_file():
            raise Damaged(f"{name} in {folder.name} is missing")
        if (found := _checksum(path)) != wanted:
            sizes = f"{found['bytes']:,} bytes instead of {wanted['bytes']:,}"
            how = (
                f"has {sizes}" if found["bytes"] != wanted["bytes"] else "is not what was written (checksum)"
            )
            raise Damaged(f"{name} in {folder.name} {how}")


def _checksum(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def delete_folder(folder: Path) -> None:
    """Deletes `folder` so that nobody ever sees half of it; nothing happens when it is not there."""
    if folder.exists():
        doomed = _temporary(folder, "deleting")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Gives a damaged file or folder a name under which nobody looks for it; returns that."""
    names = (
        path.with_name(f"{path.name}.damaged{end}") for end in ("", *(f"-{n}" for n in range(2, 10_000)))
    )
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return aside


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes `content` to `path` so that a reader sees the old file or the new one, never half of it.

    Text is written as UTF-8; half surrogates, which are no characters, become question marks.
    """
    encoded = content.encode(errors="replace") if isinstance(content, str) else content
    write_file(path, lambda temporary: temporary.write_bytes(encoded))


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write(temporary)` and gives the file it leaves the name `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, "writing")
    try:
        write(temporary)
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush(path.parent)


def _temporary(path: Path, what: str) -> Path:
    """A hidden name beside `path` that no other writer has, in this process or another."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{what}")


def sweep(directory: Path) -> None:
    """Deletes what writers that were killed left below `directory`; what a living one writes stays."""
    for path in sorted(directory.rglob(".*")):
        *_, own, what = ["", "", *path.name.split(".")]
        writer = own.partition("-")[0]
        if what not in ("writing", "deleting") or not (writer.isascii() and writer.isdigit()):
            continue
        if int(writer) != os.getpid() and runs(int(writer)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """{number: path} of what in `folder` is called `pattern` with a number in it, in order of numbers.

    `pattern` is a format, such as "step-{:06d}.parquet". Every other name is ignored; {} without a folder.
    """
    start, end = pattern.partition("{")[0], pattern.rpartition("}")[2]
    found: dict[int, Path] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        digits = path.name.removeprefix(start).removesuffix(end)
        if digits.isascii() and digits.isdigit() and pattern.format(int(digits)) == path.name:
            found[int(digits)] = path
    return dict(sorted(found.items()))


def flush(path: Path) -> None:
    """Asks the operating system to put `path` (a file or a folder) on the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_state(folder: Path, state: Any) -> None:
    """Stores `state` in the existing `folder`. Raises TypeError naming what cannot be stored, and where."""
    from safetensors.torch import save_file

    structure, tensors = _packed(state)
    save_file(tensors, folder / TENSORS)
    (folder / STRUCTURE).write_text(structure)


def read_state(folder: Path) -> Any:
    """What `write_state` stored in `folder`."""
    from safetensors.torch import load_file

    tensors = load_file(folder / TENSORS)
    return _decode(json.loads((folder / STRUCTURE).read_text(encoding="utf-8")), tensors)


def write_entry(path: Path, state: Any) -> None:
    """Stores `state` in the file `path`, whole or not at all. Raises TypeError as `write_state` does."""
    from safetensors.torch import save
    from torch import frombuffer, uint8

    structure, tensors = _packed(state)
    tensors[STRUCTURE] = frombuffer(bytearray(structure.encode()), dtype=uint8)
    content = save(tensors)
    replace_file(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read_entry(path: Path) -> Any:
    """What `write_entry` stored in `path`. Raises Damaged when it is something else."""
    from safetensors.torch import load

    sum, _, content = path.read_bytes().partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != sum:
        raise Damaged(f"{path.name} is not what was written (checksum)")
    tensors = load(content)
    return _decode(json.loads(tensors.pop(STRUCTURE).numpy().tobytes()), tensors)


def _packed(state: Any) -> tuple[str, dict[str, "Tensor"]]:
    """(JSON, the tensors it names)."""
    tensors: dict[str, Tensor] = {}
    structure = _encode(state, "state", tensors, {})
    return json.dumps(structure), {name: tensor.contiguous() for name, tensor in tensors.items()}


def _encode(value: Any, where: str, tensors: dict[str, "Tensor"], seen: dict[int, str]) -> Any:
    from torch import Tensor

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


def _store(tensor: "Tensor", tensors: dict[str, "Tensor"], seen: dict[int, str]) -> str:
    """The name of `tensor`; one that is met twice is stored once. A scalar keeps its shape."""
    if id(tensor) not in seen:
        seen[id(tensor)] = name = str(len(tensors))
        # clone: safetensors refuses two tensors that are views of one memory
        tensors[name] = tensor.detach().cpu().clone()
    return seen[id(tensor)]


def _decode(value: Any, tensors: dict[str, "Tensor"]) -> Any:
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
