"""The files with a user's own parts and functions that a recipe uses, known by their contents."""

import contextlib
import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import oneloop
from oneloop.core.identity import identity
from oneloop.core.loaded import as_loaded, digest, edited
from oneloop.judge.function import Function
from oneloop.judge.functions import locate

OWN = Path(oneloop.__file__).parent
FILE = re.compile(r"(?P<file>.+\.py):\w+")


def code(recipe: Any) -> dict[str, str]:
    """{name of a file: hash of its contents when it was loaded} of the files with a user's own code.

    Where a file is run only later, in a worker, its contents now count.
    """
    hashes: dict[str, list[str]] = {}
    for path, module in _files(recipe).items():  # by name, so that a run may move to another folder
        hashes.setdefault(path.name, []).append(as_loaded(module) if module else digest(path))
    return {name: identity(sorted(each)) for name, each in hashes.items()}


def out_of_date(recipe: Any) -> list[str]:
    """A sentence for each file of a user's own that was edited after this process imported it."""
    return [
        f"{path.name} was edited after this process had loaded it: the code of before is used; "
        "to use the new, restart Python or reload the module, and load the recipe again"
        for path, module in _files(recipe).items()
        if module and edited(module)
    ]


def code_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A sentence for each file whose hash differs between `before` and `now`."""
    changed = [name for name, was in before.items() if now.get(name, was) != was]
    return [f"{name} was edited after the checkpoint" for name in changed]


def _files(recipe: Any) -> dict[Path, ModuleType | None]:
    """The files of a user's own code, and the module that was loaded from each; None: not in this process."""
    found: dict[Path, ModuleType | None] = {}
    for value in _values(recipe):
        path = _file(value)
        if path is not None and OWN not in path.parents:
            found[path] = _module(value, path) or found.get(path)
    return found


def _values(value: Any) -> Iterator[Any]:
    """`value`, and the parts, texts and functions that it holds as options, at any depth; no data rows."""
    yield value
    inner: list[Any] = []
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in dataclasses.fields(value) if field.init]
    elif isinstance(value, dict | list | tuple):
        inner = [
            each
            for each in (value.values() if isinstance(value, dict) else value)
            if not isinstance(each, dict)
        ]
    for each in inner:
        yield from _values(each)


def _file(value: Any) -> Path | None:
    """The file of a part's class, of a function, or of `file.py:name`; None for any other value."""
    path: str | Path | None = None
    if isinstance(value, Function) and isinstance(value.path, str) and ".py:" not in value.path:
        path = locate.module_file(value.path.rpartition(".")[0])
    elif isinstance(value, str):
        named = FILE.fullmatch(value)
        path = named["file"] if named else None
    elif (defined := _defined(value)) is not None:
        with contextlib.suppress(TypeError):  # built in, or typed into an interpreter
            path = inspect.getsourcefile(defined)
    found = Path(path).resolve() if path else None
    return found if found is not None and found.is_file() else None


def _defined(value: Any) -> Any:
    """The function or class whose code a part or a callable runs; None for any other value."""
    while isinstance(value, functools.partial):
        value = value.func
    if inspect.isroutine(value) or isinstance(value, type):
        return value
    return type(value) if dataclasses.is_dataclass(value) or callable(value) else None


def _module(value: Any, path: Path) -> ModuleType | None:
    """The module at `path` that holds the code of `value`."""
    module = sys.modules.get(getattr(_defined(value), "__module__", None) or "")
    file = getattr(module, "__file__", None)
    return module if file and Path(file).resolve() == path else None
