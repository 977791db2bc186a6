"""Rows given in memory: for the Python interface, tests, and a handful of prompts inside a recipe."""

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from oneloop.core.identity import Fingerprint, of_rows
from oneloop.core.part import part
from oneloop.sample.data.columns import ColumnOptions


@part()
class Rows:
    """Data rows written out in the recipe or given from Python; columns as in `hub`."""

    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """One dict a row: `prompt` (text or chat messages) or `messages`, and free columns."""
    input_key: str | None = None
    """Column that holds the prompt; None: `prompt`, or else `messages`."""
    label_key: str | None = None
    """Column that holds the right answer and becomes `answer`; None: `answer`, or
    `reward_model.ground_truth`."""
    completion_key: str | None = None
    """Column that holds the demonstration and becomes `completion`; None: `completion`, or the last turn of
    `messages`."""
    chat: bool | None = None
    """Whether prompts are conversations. true: a text becomes a user message; false: messages are refused;
    None: prompts stay as they are."""
    system: str = ""
    """System message before every prompt, which makes it a conversation; empty: none."""

    def __post_init__(self) -> None:
        for key, row in enumerate(self.rows):
            self._reading.check(list(row), f"row {key}")

    @cached_property
    def _reading(self) -> ColumnOptions:
        return ColumnOptions(self.input_key, self.label_key, self.completion_key, self.chat, self.system)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1."""
        if not 0 <= key < len(self.rows):
            raise IndexError(f"row {key}: there are {len(self.rows)} rows")
        return self._reading.row(self.rows[key], f"row {key}")

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of all rows."""
        return of_rows(self, len(self))
