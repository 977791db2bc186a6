"""JSON files: one object a line, or one document that is a list of objects or a single object.

Lines end at a line feed only, so U+2028 inside a text is kept.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from oneloop.sample.data.files.text_table import FileLine, Row, TextTable, content, decoded, parsed_json


def read(paths: Sequence[tuple[str, Path]]) -> TextTable:
    """The rows of the files `paths`, each (name for messages, path), one file after the other.

    Raises ValueError, naming the file, for a document that is not JSON or not a list of objects.
    """
    return TextTable([line for name, path in paths for line in _lines(name, content(path))], _row)


def _lines(name: str, text: bytes) -> Iterator[FileLine]:
    if text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from _document(name, text)
        return
    lines = [(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    if len(lines) > 1 and not _is_row(lines[0][1]) and (whole := _whole(text)) is not None:
        yield FileLine(name, 1, whole)
        return
    for number, line in lines:
        yield FileLine(name, number, line)


def _document(name: str, text: bytes) -> Iterator[FileLine]:
    try:
        rows = parsed_json(decoded(text))
    except ValueError as error:
        raise ValueError(f"cannot load {name}: {error}") from None
    for number, row in enumerate(rows, 1):
        yield FileLine(name, number, row)


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(_row(line), dict)
    except ValueError:
        return False


def _whole(text: bytes) -> Row | None:
    """The object, if the whole of `text` is one JSON object; else None."""
    try:
        found = parsed_json(decoded(text))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _row(line: Any) -> Row:
    found = parsed_json(decoded(line)) if isinstance(line, bytes) else line
    if not isinstance(found, dict):
        raise ValueError(f"a row is one JSON object, got {found!r:.80}")
    return found
