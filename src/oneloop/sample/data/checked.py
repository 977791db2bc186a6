"""Rows that are looked at before they are used: a bad one is named, and left out where the recipe says so.

A row is bad when it cannot be read (ValueError of the data), has no prompt, or when the policy cannot start
from it: its template refuses it, it is too long, its picture does not open.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, runtime_checkable

from oneloop.core.protocols import Data

Row = dict[str, Any]
OnBadRow = Literal["stop", "skip"]
Check = Callable[[Row, str], None]
"""Raises ValueError, naming the place it is given, when a policy cannot use a row."""
SHOWN = 3
"""So many bad rows are named; the others are counted."""


class BadRows(ValueError):
    """Rows that cannot be used, where `on_bad_row` is stop; the message names the first."""


@runtime_checkable
class Placed(Protocol):
    """Data that knows where its rows are written."""

    def place(self, key: int) -> str:
        """File and line of a row, in words."""


def unchecked(row: Row, where: str) -> None:
    """The check of nobody in particular."""


def place_of(data: Data, key: int) -> str:
    """Where a row is, in words: its file and line, or its number."""
    return data.place(key) if isinstance(data, Placed) else f"data row {key}"


def usable(data: Data, key: int, check: Check) -> Row:
    """The row. Raises ValueError, naming its place, when it is bad."""
    row = data[key]
    where = place_of(data, key)
    if row.get("prompt") is None:
        raise ValueError(f"{where} has no 'prompt'; its columns: {', '.join(row) or 'none'}")
    check(row, where)
    return row


def bad_rows(data: Data, keys: Iterable[int], check: Check) -> dict[int, str]:
    """{key: what is wrong with it} of the bad rows among `keys`."""
    found: dict[int, str] = {}
    for key in keys:
        try:
            usable(data, key, check)
        except ValueError as error:
            found[key] = str(error)
    return found


def told(bad: dict[int, str], rows: int, on_bad_row: OnBadRow) -> str:
    """The sentence about `bad` rows among `rows` that were looked at; "" without any. Raises BadRows for
    "stop", and when none is left."""
    if not bad:
        return ""
    named = "; ".join(list(bad.values())[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
    share = f"{len(bad)} of {rows} rows cannot be used"
    if on_bad_row == "stop":
        raise BadRows(f"{share}: {named} (on_bad_row: skip leaves such rows out)")
    if len(bad) == rows:
        raise BadRows(f"{share}, so none is left: {named}")
    return f"{share} and are left out: {named}"
