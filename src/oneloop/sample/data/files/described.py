"""A folder of pictures with metadata.jsonl or metadata.csv, whose cells stay as they are written.

`datasets` finds the pictures and their splits, and guesses types of what is written beside them: 007 would be
7, NA nothing, a date a moment. So the cells are read again by the readers of text files.
"""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneloop.sample.data.files import delimited, json_rows
from oneloop.sample.data.files.text_table import Row, TextTable
from oneloop.sample.data.files.typed_table import TypedTable

NAMES = ("metadata.jsonl", "metadata.csv")
KEY = "file_name"


class Described:
    """Rows of the `datasets.Dataset` `table` of pictures, in which what `files` say of them stays as it is.

    `files` are (name for messages, path) of the metadata files; a picture is known by its path, seen from its
    file.
    """

    def __init__(self, name: str, table: Any, files: Sequence[tuple[str, Path]]):
        import datasets

        self._pictures = TypedTable(name, table)
        self.columns, self.light = self._pictures.columns, False
        self._picture = next(
            (column for column, kind in table.features.items() if isinstance(kind, datasets.Image)), None
        )
        self._paths = table
        if self._picture is not None:
            self._paths = table.select_columns([self._picture]).cast_column(
                self._picture, datasets.Image(decode=False)
            )
        self._rows: dict[str, Row] = {}
        for file, path in files:
            self._rows |= _by_picture(file, _read(file, path))

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, key: int) -> Row:
        """Row number `key`. Raises ValueError when a picture in it cannot be opened."""
        return {**self._pictures[key], **self._cells(key)}

    def place(self, key: int) -> str:
        """Where row number `key` is, in words."""
        return self._pictures.place(key)

    def _cells(self, key: int) -> Mapping[str, Any]:
        if self._picture is None:
            return {}
        path = (self._paths[key][self._picture] or {}).get("path") or ""
        own = self._rows.get(posixpath.normpath(path), {})
        return {name: value for name, value in own.items() if name in self.columns and name != self._picture}


def _read(file: str, path: Path) -> TextTable:
    return delimited.read([(file, path)], ",") if file.endswith(".csv") else json_rows.read([(file, path)])


def _by_picture(file: str, table: TextTable) -> dict[str, Row]:
    """{path of a picture: its row}."""
    found: dict[str, Row] = {}
    for key in range(len(table)):
        row = table[key]
        if isinstance(row.get(KEY), str):
            found[posixpath.normpath(posixpath.join(posixpath.dirname(file), row[KEY]))] = row
    return found
