"""What a command prints on: streams that are closed or know few characters, and warnings as sentences."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oneloop

HERE = Path(oneloop.__file__).parent


@contextmanager
def readable() -> Iterator[None]:
    """Inside, no character ends a command: one that a stream's encoding lacks is written as \\xb2.

    Warnings of oneloop are printed as sentences, without the line of code they come from.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):  # one that was closed is None
            stream.reconfigure(errors="backslashreplace")
    before = warnings.formatwarning
    warnings.formatwarning = _sentence
    try:
        yield
    finally:
        warnings.formatwarning = before


def _sentence(message: Any, category: Any, filename: str, lineno: int, line: str | None = None) -> str:
    if Path(filename).is_relative_to(HERE):
        return f"warning: {message}\n"
    return _of_python(message, category, filename, lineno, line)


_of_python = warnings.formatwarning
