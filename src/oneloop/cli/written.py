"""Callbacks of options that name what is to be written: a bad place is said before the work is done."""

from pathlib import Path

from oneloop.core.destinations import check_file, check_folder

Given = Path | list[Path] | None


def new_file(given: Given) -> Given:
    """`given`. Raises Unwritable for a file that cannot be written."""
    for path in _listed(given):
        check_file(path)
    return given


def new_folder(given: Given) -> Given:
    """`given`. Raises Unwritable for a folder that cannot be made or written to."""
    for path in _listed(given):
        check_folder(path)
    return given


def _listed(given: Given) -> list[Path]:
    return given if isinstance(given, list) else [] if given is None else [given]
