"""Check rows before they are used: a bad row stops the run, or is left out where the recipe says so.

A row is bad when it cannot be read (the data raises ValueError), has no prompt, or when the policy cannot
start from it: the chat template refuses it, it is too long, its picture does not open.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, runtime_checkable

from oneloop.core.protocols import Data

Row = dict[str, Any]
OnBadRow = Literal["stop", "skip"]
Check = Callable[[Row, str], None]
"""`check(row, where)` raises ValueError, naming `where`, when a policy cannot use the row."""
SHOWN = 3
"""Bad rows that a message names; the others are only counted."""


class BadRows(ValueError):
    """There are bad rows and `on_bad_row` is stop, or all rows are bad; the message names the first."""


@runtime_checkable
class RowPlacing(Protocol):
    """Data that knows the file and line of its rows."""

    def place(self, key: int) -> str:
        """File and line of row number `key`, in words."""


def unchecked(row: Row, where: str) -> None:
    """The check that accepts every row."""


def place_of(data: Data, key: int) -> str:
    """Where row number `key` is, in words: its file and line, or its number."""
    return data.place(key) if isinstance(data, RowPlacing) else f"data row {key}"


def usable(data: Data, key: int, check: Check) -> Row:
    """Row number `key` of `data`. Raises ValueError, naming its place, when it is bad."""
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
    """A sentence on the `bad` rows among `rows` checked rows; "" without any. Raises BadRows when
    `on_bad_row` is stop, and when all rows are bad.
    """
    if not bad:
        return ""
    named = "; ".join(list(bad.values())[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
    share = f"{len(bad)} of {rows} rows cannot be used"
    if on_bad_row == "stop":
        raise BadRows(f"{share}: {named} (on_bad_row: skip leaves such rows out)")
    if len(bad) == rows:
        raise BadRows(f"{share}, so none is left: {named}")
    return f"{share} and are left out: {named}"
