"""What a run reads: data of its phases, of its evaluation and of parts, and folders of models.

    sources(recipe)    {"evaluate.data": ..., "policy.model": ..., "phases.grpo.judge[0].model": ...}

A checkpoint remembers these, because its own folder does not hold them: adapters are added to the weights of
a base model, tokenizer and chat template come from the model's folder, and a judge's model is read anew.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import try_to_load_from_cache

from oneloop.core.identity import fingerprint, identity

NAMES = ("model", "name", "folder")
"""Options of a model, or of what has one, that say where its files are."""
ENDINGS = (".safetensors", ".bin", ".gguf", ".json", ".jinja", ".model", ".txt", ".tiktoken")
CONFIGS = ("config.json", "model_index.json", "adapter_config.json")
WHOLE = 2**20
"""Bytes up to which a file is read whole."""
BLOCKS, BLOCK = 512, 4096
"""Of a larger file, so many blocks of so many bytes are read, evenly spread."""


def sources(recipe: Any) -> dict[str, str]:
    """{option of the recipe: hash of what it names}; models that are not on this machine are left out."""
    return dict(_found(recipe, ""))


def source_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A sentence for each option that names something else `now` than it did `before`."""
    other = [path for path, was in before.items() if now.get(path, was) != was]
    return [f"{path}: its {_kind(path)} changed after the checkpoint" for path in other]


def _kind(path: str) -> str:
    return "files" if path.rpartition(".")[2] in NAMES else "rows"


def _found(value: Any, path: str) -> Iterator[tuple[str, str]]:
    for name, inner in _inner(value, path):
        if _is_data(inner):
            yield name, identity(list(fingerprint(inner)))
        elif isinstance(inner, str):
            if _names_a_model(name) and (folder := located(inner)):
                yield name, of_files(folder)
        else:
            yield from _found(inner, name)


def _inner(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of the options of a part, or of what a list or a mapping holds."""
    dot = f"{path}." if path else ""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f"{dot}{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        yield from ((f"{dot}{key}", each) for key, each in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{place}]", each) for place, each in enumerate(value))


def _is_data(value: Any) -> bool:
    """Whether `value` is a data part."""
    return dataclasses.is_dataclass(value) and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _names_a_model(path: str) -> bool:
    """Whether the option at `path` names files: `model` itself, or `name` or `folder` of a model."""
    option = path.rpartition(".")[2]
    return option == "model" or (option in NAMES and path.split(".")[-2:-1] == ["model"])


def located(name: str) -> Path | None:
    """The folder of the model called `name`, here or in the cache of the hub; None where there is none."""
    if Path(name).is_dir():
        return Path(name)
    for config in CONFIGS:
        try:
            cached = try_to_load_from_cache(name, config)
        except ValueError:  # no name that the hub could know
            return None
        if isinstance(cached, str):
            return Path(cached).parent
    return None


def of_files(folder: Path) -> str:
    """A hash of the files of a model: names, sizes and contents, of large ones a sample of blocks.

    What adapters in the folder belong to counts too.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in ENDINGS)
    seen = [[str(path.relative_to(folder)), path.stat().st_size, _content(path)] for path in files]
    below = _base(folder)
    return identity([seen, of_files(below) if below else ""])


def _base(folder: Path) -> Path | None:
    """The folder of the model that the adapters in `folder` are added to; None without adapters."""
    try:
        named = json.loads((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return None
    below = located(named) if isinstance(named, str) and named else None
    return below if below is not None and below.resolve() != folder.resolve() else None


def _content(path: Path) -> str:
    size = path.stat().st_size
    places = [0] if size <= WHOLE else np.linspace(0, size - BLOCK, BLOCKS).astype(np.int64).tolist()
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            digest.update(file.read(BLOCK if size > WHOLE else WHOLE))
    return digest.hexdigest()
