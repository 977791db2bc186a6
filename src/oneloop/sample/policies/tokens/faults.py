"""What is wrong with a model that cannot be loaded, in words: its name, its files, its weights."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from oneloop.core import hub
from oneloop.core.named import NoSuchModel
from oneloop.core.pointers import is_pointer

NEEDED = (".safetensors", ".bin", ".json", ".model")
"""Endings of files without which no model is loaded."""


def why(name: str, error: Exception, words: str) -> str:
    """The end of a sentence on a model called `name`, wanted as `words`, for which `error` was raised."""
    if isinstance(error, NoSuchModel):
        return f": {error.why}"
    said = str(error)
    if "trust_remote_code" in said:
        return ": it brings its own code, which is never run; take a model that transformers itself knows"
    if "Unrecognized configuration class" in said:
        found = said.partition("<class '")[2].partition("'")[0].rpartition(".")[2]
        return f": {found} is not the configuration of {words}"
    if which := broken(Path(name)):
        return f": {which}"
    if "backend tokenizer" in said:
        return (
            ": it has no tokenizer that can be read; put tokenizer.json of the model it was made of beside it"
        )
    if isinstance(error, KeyError):
        return f": {error} is nothing that the library knows which reads it"
    if isinstance(error, OSError) and not Path(name).exists():
        return f": {hub.why(name, error)}"
    return f": {said or type(error).__name__}"


def broken(folder: Path) -> str:
    """The first file of a model's folder that is none, in words; "" where all are, or there is no folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_pointer(path):
            return (
                f"{path.name} is a pointer of Git LFS; `git lfs pull` in that folder fetches the file itself"
            )
        if path.suffix in NEEDED and path.is_file() and not path.stat().st_size:
            return f"{path.name} is empty"
        if path.suffix == ".json" and (wrong := _no_json(path)):
            return f"{path.name} is not JSON: {wrong}"
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, "pt"):
                    pass
            except (SafetensorError, OSError) as error:
                return f"{path.name} is damaged ({error})"
    return ""


def _no_json(path: Path) -> str:
    """Why a file is not JSON, in the words of who reads it; "" for one that is."""
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""


def check_complete(loaded: Any, found: Mapping[str, Any], name: str, option: str) -> None:
    """Raises ValueError, beginning with `option`, for weights that are missing or of another size.

    `found`: what transformers says of the weights in `name`. Warns of weights that `loaded` has no place for.
    """
    kind = type(loaded).__name__
    if other := sorted(found["mismatched_keys"]):
        weight, held, wanted = other[0]
        raise ValueError(
            f"{option}: the weights in '{name}' do not fit its config.json: {weight} is {[*held]} and "
            f"must be {[*wanted]}{_more(other)}"
        )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{option}: '{name}' has no weights for {missing[0]}{_more(missing)} of {kind}")
    if left := sorted(found["unexpected_keys"]):
        warnings.warn(
            f"'{name}' has weights that {kind} has no place for ({left[0]}{_more(left)}); they are left out",
            stacklevel=2,
        )


def _more(names: Sequence[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
