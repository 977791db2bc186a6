"""CSV and TSV files: a line of column names, then one row a line. A cell is text; an empty cell is None.

No types are guessed: 007 is three digits, NA is a word. Quoted cells may hold separators and line ends (RFC
4180).
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from oneloop.sample.data.files.text_table import FileLine, Row, TextTable, content, decoded

LONGEST = 2**31 - 1
"""Most characters a cell may have."""
OTHERS = ";\t|,"
"""Separators that a line of column names is searched for where it seems to name one column alone."""


def read(paths: Sequence[tuple[str, Path]], separator: str) -> TextTable:
    """The rows of the files `paths`, each (name for messages, path), one file after the other.

    Raises ValueError, naming the file, for one that is not UTF-8, has no usable line of column names, another
    separator, or an end inside quotes.
    """
    csv.field_size_limit(LONGEST)
    headers, lines = dict[str, None](), list[FileLine]()
    for name, path in paths:
        try:
            header, rows = _read(decoded(content(path)), separator)
        except ValueError as error:
            raise ValueError(f"cannot load {name}: {error}") from None
        headers |= dict.fromkeys(header)
        lines += [FileLine(name, number, (header, cells)) for number, cells in rows]
    return TextTable(lines, _row, headers)


def _read(text: str, separator: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """(column names, an iterator of each row's (number of its first line, cells))."""
    rows = _numbered(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    header = next(rows, (1, list[str]()))[1]
    if not header:
        raise ValueError("it is empty; the first line names the columns")
    if len(header) == 1 and (other := next((one for one in OTHERS if one in header[0]), None)):
        raise ValueError(
            f"its only column is called {header[0]!r}: it is separated by {other!r} and not by "
            f"{separator!r}; save it with commas, or with tabs as .tsv"
        )
    if twice := [name for name in header if header.count(name) > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}")
    return header, iter(list(rows))


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row; empty lines are skipped."""
    before = 0
    try:
        for cells in reader:
            if cells:
                yield before + 1, cells
            before = reader.line_num
    except csv.Error as error:
        if str(error) == "unexpected end of data":
            error = csv.Error("a quotation mark is opened and never closed")
        raise ValueError(f"in the row that begins in line {before + 1}: {error}") from None


def _row(content: tuple[list[str], list[str]]) -> Row:
    header, cells = content
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells, but there are {len(header)} columns ({', '.join(header)})")
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}
