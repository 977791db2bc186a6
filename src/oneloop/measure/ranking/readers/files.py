"""Reads text files of others: bounded when they unpack, as UTF-8, with the line of a fault in its message."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from oneloop.core.text import one_line
from oneloop.measure.ranking.pool import RankingError

T = TypeVar("T")
LARGEST = 512 << 20
"""Bytes that a compressed file may unpack to before it must be unpacked by hand."""
BEGINNINGS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "gzip",
    b"PK": "zip",
    b"PAR1": "Parquet",
}
"""First bytes of what is no text, and its name."""


class Bounded(io.RawIOBase):
    """A binary file of which at most `most` bytes can be read; then RankingError."""

    def __init__(self, file: IO[bytes], most: int):
        super().__init__()
        self._file, self._most, self._left = file, most, most

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`; the number of bytes. Raises RankingError past the bound or for damaged data."""
        try:
            data = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise RankingError(f"is damaged or cut off: {error}") from None
        self._left -= len(data)
        if self._left < 0:
            raise RankingError(
                f"unpacks to more than {self._most >> 20} MiB; unpack it, then read the plain file"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes the file inside too."""
        self._file.close()
        super().close()


def opened(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if its name ends in .gz. Raises RankingError while it is read."""
    if path.suffix != ".gz":
        return path.open("rb")
    return io.BufferedReader(Bounded(gzip.open(path), LARGEST))  # type: ignore[arg-type]


def text_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a UTF-8 file, with or without a mark at its start.

    A line ends at a line feed alone: other separators of Unicode may stand inside JSON strings.
    Raises RankingError for other encodings, naming the line.
    """
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            start = next((name for head, name in BEGINNINGS.items() if line.startswith(head)), None)
            if number == 1 and start:
                raise RankingError(f"is {start}, not UTF-8 text")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise RankingError(
                    f"line {number} is not UTF-8 (byte 0x{byte:02x} at column {error.start + 1}); "
                    "save the file as UTF-8"
                ) from None


def json_of(text: str | bytes, where: str) -> Any:
    """The JSON value in `text`; lone surrogates become U+FFFD. Raises RankingError, saying `where`."""
    try:
        value = json.loads(text)
        marks = ("\\ud", "\\uD") if isinstance(text, str) else (b"\\ud", b"\\uD")
        return whole_text(value) if any(mark in text for mark in marks) else value  # type: ignore[operator]
    except UnicodeDecodeError as error:
        raise RankingError(f"{where} is not UTF-8: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise RankingError(
            f"{where} is no JSON, or cut off: {error.msg.removesuffix(' at')} at column {error.colno}"
        ) from None
    except RecursionError:
        raise RankingError(f"{where} is nested too deeply to be read") from None
    except ValueError as error:  # a number of thousands of digits
        raise RankingError(f"{where} cannot be read: {one_line(str(error))}") from None


def whole_text(value: Any) -> Any:
    """`value` with every text such that it can be written as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_text(item) for item in value]
    if isinstance(value, dict):
        return {whole_text(name): whole_text(item) for name, item in value.items()}
    return value


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list or of JSON lines. Raises RankingError for anything else, with the line."""
    lines = ((number, line) for number, line in text_of(path) if line.strip())
    number, first = next(lines, (0, ""))
    if not first:
        raise RankingError("is empty")
    if first.lstrip().startswith("["):
        rows = json_of("".join([first, *(line for _, line in lines)]), "the list")
    elif first.strip() == "{":
        whole = json_of("".join([first, *(line for _, line in lines)]), "the object")
        raise RankingError(f"holds one object ({fields_of(whole)}), not a list of rows or an object a line")
    else:
        rows = [json_of(first, f"line {number}"), *(json_of(line, f"line {n}") for n, line in lines)]
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RankingError(
                f"must hold a list of objects, or an object a line; row {place} is {shown(row)}"
            )
    return list(rows)


def in_file(path: Path, read: Callable[[Path], T]) -> T:
    """`read(path)`, with the file's name in its RankingErrors: for readers of whole folders."""
    try:
        return read(path)
    except RankingError as error:
        raise RankingError(f"{one_line(path.name)}: {error}") from None


def fields_of(found: Any) -> str:
    """The names of an object's fields, shortened."""
    return one_line(", ".join(found), 80) if isinstance(found, dict) and found else "no fields"


def shown(value: Any) -> str:
    """Any value of a file, for a message."""
    return one_line(repr(value)[:200], 60)
