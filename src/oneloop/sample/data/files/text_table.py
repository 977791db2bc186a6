"""Rows of text files, kept as text and parsed on access, and functions that all readers of text share."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
BOM = "\ufeff"
OTHERS = {
    b"PAR1": "Parquet; call it .parquet",
    b"ARROW1": "Arrow; call it .arrow",
    b"\x1f\x8b": "compressed by gzip; add .gz to its name",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"BZh": "compressed by bzip2; unpack it",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"PK\x03\x04": "a workbook or another zip archive; save the table as CSV",
    b"SQLite format 3": "a database; save the table as CSV",
}
"""How files begin that are no text, and what to do with them."""


class FileLine(NamedTuple):
    """One row of a file, before parsing."""

    file: str
    """The file's name as it was given."""
    number: int
    """Number of the row's first line in the file, from 1; in a JSON list the row's place, from 1."""
    content: Any
    """Argument of the table's `parse`."""


class TextTable:
    """Rows of text files, by number; every row has every column, None where the file has no value.

    `parse` makes a row of a line's content; it raises ValueError, to which file and line are added. A line
    that cannot be parsed raises ValueError when its row is read; a table of such lines alone raises at once.
    """

    light = True

    def __init__(self, lines: Sequence[FileLine], parse: Callable[[Any], Row], header: Iterable[str] = ()):
        self._lines, self._parse = lines, parse
        self.columns = list(dict.fromkeys([*header, *self._columns()]))

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, key: int) -> Row:
        """Row number `key`. Raises ValueError, naming file and line, when it cannot be parsed."""
        line = self._lines[key]
        try:
            row = self._parse(line.content)
        except ValueError as error:
            raise ValueError(f"{line.file} line {line.number}: {error}") from None
        return {column: row.get(column) for column in self.columns}

    def place(self, key: int) -> str:
        """File and line of row number `key`, in words."""
        return f"{self._lines[key].file} line {self._lines[key].number}"

    def _columns(self) -> dict[str, None]:
        columns: dict[str, None] = {}
        first: ValueError | None = None
        for line in self._lines:
            try:
                columns |= dict.fromkeys(self._parse(line.content))
            except ValueError as error:
                first = first or ValueError(f"{line.file} line {line.number}: {error}")
        if first and not columns:
            raise first
        return columns


def content(path: Path) -> bytes:
    """The bytes of the text file `path`, decompressed if it is a .gz file.

    Raises ValueError if it is damaged, or a file of another kind by its first bytes.
    """
    found = path.read_bytes()
    try:
        found = gzip.decompress(found) if path.suffix.lower() == ".gz" else found
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file: {error}") from None
    for beginning, kind in OTHERS.items():
        if found.startswith(beginning):
            raise ValueError(f"{path} is not text but {kind}")
    return found


def decoded(text: bytes) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises ValueError naming the first invalid byte."""
    try:
        return text.decode("utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        kind = " (it looks like UTF-16)" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise ValueError(
            f"byte {error.start + 1}, {text[error.start : error.start + 1]!r}, is not UTF-8{kind}; "
            "save the file as UTF-8"
        ) from None


class WrittenFloat(float):
    """A float that prints as it was written in the file: 2.50 and not 2.5, 1e3 and not 1000.0."""

    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        """The number written as `text`. Raises ValueError when `text` is no number."""
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    def __reduce__(self) -> tuple[type["WrittenFloat"], tuple[str]]:
        return WrittenFloat, (self.text,)


def number(text: str) -> float:
    """The number of the JSON literal `text`. Raises ValueError when it is too large for a float."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text:.40} is too large")
    return value if repr(value) == text else WrittenFloat(text)


def whole(text: str) -> int:
    """The integer of the JSON literal `text`, of any size. Raises ValueError beyond Python's digit limit."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a whole number has {len(text)} digits, which is too many") from None


def objects(pairs: list[tuple[str, Any]]) -> Row:
    """The key-value `pairs` of a JSON object as a dict. Raises ValueError for a repeated key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return found


def parsed_json(text: str) -> Any:
    """The value of the JSON document `text`. Raises ValueError with a plain message for invalid JSON."""
    try:
        value = json.loads(text, object_pairs_hook=objects, parse_float=number, parse_int=whole)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (character {error.colno})") from None
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if "\\u" in text and not _is_unicode(value):
        raise ValueError("it holds half a surrogate pair (\\ud800 .. \\udfff), which is no character")
    return value


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
