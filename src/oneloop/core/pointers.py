"""Files that a clone without Git LFS has in place of those that were meant."""

from pathlib import Path

BEGINNING = b"version https://git-lfs.github.com/spec/"


def is_pointer(path: Path) -> bool:
    """Whether the file at `path` only says where Git LFS keeps its content; no for what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(BEGINNING)) == BEGINNING
    except OSError:
        return False
