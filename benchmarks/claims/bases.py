"""Bases that take minutes to teach: taught once, kept beside the runs of the claim that starts from them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.claims import code
from oneloop.core import storage

Weights = dict[str, Tensor]
_FOLDER: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Bases that are taught meanwhile are kept in `folder`, or in memory alone where it is None."""
    before = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(before)


def kept(teach: Callable[..., Weights]) -> Callable[..., Weights]:
    """A function that teaches a base and returns its weights, so that it does so once for its arguments.

    All arms, all workers and a resumed claim have the same weights; a result that starts from them counts the
    code that taught them as its own (`code.watched`).
    """

    @cache
    @wraps(teach)
    def found(*arguments: str | int) -> Weights:
        folder = _FOLDER.get()
        if folder is None:
            return teach(*arguments)
        path = folder / f"{teach.__name__}-{'-'.join(str(each) for each in arguments)}.safetensors"
        if not path.exists():
            _teach(teach, arguments, path)
        with safetensors.safe_open(path, "pt") as file:
            code.add(json.loads(file.metadata()["ran"]))
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no mapping

    return found


def _teach(teach: Callable[..., Weights], arguments: tuple[str | int, ...], path: Path) -> None:
    """Writes the base and the files that ran for it."""
    ran: set[str] = set()
    with code.watched(ran):
        weights = teach(*arguments)
    apart = {name: each.detach().clone().contiguous() for name, each in weights.items()}  # some are tied
    told = {"ran": json.dumps(sorted(ran))}
    storage.write_file(path, lambda temporary: save_file(apart, temporary, told))
