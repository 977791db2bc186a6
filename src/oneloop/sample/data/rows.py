"""Rows given in memory: for the Python interface, tests, and a handful of prompts inside a recipe."""

from typing import Annotated, Any

from pydantic import Field

from oneloop.core.identity import Fingerprint, of_rows
from oneloop.core.part import part
from oneloop.sample.data.columns import as_row, check_columns


@part()
class Rows:
    """The rows themselves, with the columns `hub` accepts."""

    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """One dict a row: `prompt` (text or chat messages) or `messages`, and free columns."""
    input_key: str | None = None
    """Column that holds the prompt, when it is not `prompt`."""
    label_key: str | None = None
    """Column that holds the right answer; it becomes `answer`."""

    def __post_init__(self) -> None:
        for key, row in enumerate(self.rows):
            check_columns(list(row), self.input_key, self.label_key, f"row {key}")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number. Raises IndexError outside 0..len-1."""
        if not 0 <= key < len(self.rows):
            raise IndexError(f"row {key}: there are {len(self.rows)} rows")
        return as_row(self.rows[key], self.input_key, self.label_key, f"row {key}")

    def fingerprint(self) -> Fingerprint:
        """Of all rows."""
        return of_rows(self, len(self))
