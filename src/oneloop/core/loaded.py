"""Modules of the user's own as this process has loaded them.

A process keeps what it has imported, whatever is written to the file later. A file that is named by its path
is run again once its contents differ; a module that is named by a dotted path stays as Python imported it
until Python is restarted or the module is reloaded, and `edited` tells that it is not what its file says.
"""

import hashlib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

FILE_MODULE = "oneloop_user_file_"
"""The name of a module that was loaded by its path begins so."""
_SEEN: dict[str, tuple[Any, str]] = {}
"""{module: (its spec, hash of its file)} when loaded or first asked about; a reload makes a new spec."""


def digest(path: Path) -> str:
    """Hexadecimal hash of the contents of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def from_file(path: Path) -> ModuleType:
    """The module in `path`: run at the first call, and again when the file has other contents since.

    Raises ImportError, in words, when there is no such file or whatever it raises.
    """
    if not path.is_file():
        raise ImportError(f"no such file: {path} (a part of your own is written 'file.py:Class')")
    path = path.resolve()
    contents = path.read_bytes()
    now = hashlib.sha256(contents).hexdigest()
    place = path.with_suffix("").as_posix().strip("/").replace("/", "_").replace(".", "_")
    name = f"{FILE_MODULE}{place}_{now[:12]}"  # each version has its own: parts of an older one stay whole
    if name in sys.modules:
        return sys.modules[name]
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        # not exec_module: compiled code that Python keeps is told apart by seconds and size alone
        exec(loader.source_to_code(contents, str(path)), module.__dict__)
    except (Exception, SystemExit) as error:  # a script that is meant to be started ends by sys.exit
        del sys.modules[name]
        raise ImportError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    _SEEN[name] = (spec, now)
    return module


def as_loaded(module: ModuleType) -> str:
    """Hash of a module's file when the module was loaded, or when this was first asked since; "": no file."""
    file = Path(getattr(module, "__file__", None) or "")
    spec, was = _SEEN.get(module.__name__, (None, ""))
    if not was or spec is not module.__spec__:
        was = digest(file) if file.is_file() else ""
        _SEEN[module.__name__] = (module.__spec__, was)
    return was


def edited(module: ModuleType) -> bool:
    """Whether the file of a module has other contents than when the module was loaded."""
    file = Path(getattr(module, "__file__", None) or "")
    return file.is_file() and digest(file) != as_loaded(module)
