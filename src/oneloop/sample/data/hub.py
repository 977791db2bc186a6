"""Rows of a file (JSON, JSONL, CSV, TSV, Parquet, Arrow), a folder of them, or a data set of the hub.

Read at the first use. What a text file says stays text: nothing is taken for a number or a date. Columns: see
`columns.py`; pictures and whatever else a row has are passed on as they are. Left out: streaming (a plan
asks for rows by number, in any order).
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import part
from oneloop.sample.data.columns import Reading
from oneloop.sample.data.files.located import KNOWN, Table, ending_of, load


@part()
class Hub:
    """Rows of `path`, each with `prompt` and whatever columns the data has."""

    path: str
    """Name on the hub, a local folder of data files, or a file: .json, .jsonl, .csv, .tsv (each also .gz),
    .parquet, .arrow; * stands for any name."""
    split: str = "train"
    """Part of the data, also `train[:100]` or `train[90%:]`; a file is all `train`."""
    name: str | None = None
    """Configuration of the data set, where it has several."""
    revision: str | None = None
    """Commit or tag of the hub's repository; none: the newest."""
    input_key: str | None = None
    """Column that holds the prompt, when it is not `prompt` or `messages`."""
    label_key: str | None = None
    """Column that holds the right answer; it becomes `answer`."""
    chat: bool | None = None
    """Whether prompts are conversations: true makes a text one message of the user, false takes texts only;
    none: as the data has them."""
    system: str = ""
    """Contents of a system message before every prompt, which makes it a conversation; empty: none."""

    def __post_init__(self) -> None:
        _ = self._reading

    @cached_property
    def _reading(self) -> Reading:
        return Reading(self.input_key, self.label_key, self.chat, self.system)

    @cached_property
    def _table(self) -> Table:
        table = load(self.path, self.split, self.name, self.revision)
        where = f"{self.path} [{self.split}]"
        if not len(table):
            raise ValueError(f"{where} is empty (columns: {', '.join(table.columns) or 'none'})")
        self._reading.check(table.columns, where)
        return table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number. Raises IndexError outside 0..len-1, ValueError for a malformed row."""
        if not 0 <= key < len(self):
            raise IndexError(f"row {key} of {self.path}: there are {len(self)} rows")
        return self._reading.row(self._table[key], self.place(key))

    @property
    def local(self) -> bool:
        """Whether `path` means files of this machine."""
        return Path(self.path).exists() or "*" in self.path or ending_of(self.path) in KNOWN

    def place(self, key: int) -> str:
        """File and line of a row, or the data set and the row's number."""
        return self._table.place(key)

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of all rows; of some where rows are pictures that would have to be decoded."""
        return of_rows(self, len(self) if self._table.light else SPREAD)
