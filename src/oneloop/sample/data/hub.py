"""Rows of a file (JSON, CSV, TSV, Parquet, Arrow, Feather), a folder of them, or a data set of the hub.

Read at the first use. Text of text files stays text: no numbers or dates are guessed. columns.py says which
columns are needed. Pictures and all other columns are passed on unchanged; a path of a picture may begin at
the folder of the file. Not here: streaming (a plan asks for rows by number, in any order).
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import part
from oneloop.sample.data import beside
from oneloop.sample.data.columns import ColumnOptions
from oneloop.sample.data.files.located import KNOWN, DataTable, ending_of, load


def is_rows(value: Any) -> bool:
    """Whether `value` is a list of mappings."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


@part()
class Hub:
    """Rows of the data at `path`, each with `prompt` and all columns of the data."""

    path: str
    """Name on the hub, a local folder of data files, or a file: .json, .jsonl, .csv, .tsv (each also .gz),
    .parquet, .arrow, .feather; * stands for any name."""
    split: str = "train"
    """Split of the data, or a part of it: `train[:100]`, `train[90%:]`; the rows of a file are all
    `train`."""
    name: str | None = None
    """Configuration of the data set, if it has several; None: the default one."""
    revision: str | None = None
    """Commit or tag of the hub's repository; None: the newest."""
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
        _ = self._reading

    @cached_property
    def _reading(self) -> ColumnOptions:
        return ColumnOptions(self.input_key, self.label_key, self.completion_key, self.chat, self.system)

    @cached_property
    def _table(self) -> DataTable:
        table = load(self.path, self.split, self.name, self.revision)
        where = f"{self.path} [{self.split}]"
        if not len(table):
            raise ValueError(f"{where} is empty (columns: {', '.join(table.columns) or 'none'})")
        self._check(table, where)
        return table

    def _check(self, table: DataTable, where: str) -> None:
        """Raises ValueError unless rows can be made of the columns of `table`."""
        try:
            self._reading.check(table.columns, where)
        except ValueError as error:
            inner = [name for name in table.columns if len(table) == 1 and is_rows(table[0][name])]
            if not inner:
                raise
            raise ValueError(
                f"{error}; its one row holds rows in '{inner[0]}': save that list as a file of its own"
            ) from None

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..len-1, ValueError for a malformed row."""
        if not 0 <= key < len(self):
            raise IndexError(f"row {key} of {self.path}: there are {len(self)} rows")
        row = self._reading.row(self._table[key], self.place(key))
        return beside.found(row, self._folder) if self.local else row

    @cached_property
    def _folder(self) -> Path:
        return beside.folder_of(self.path)

    @property
    def local(self) -> bool:
        """Whether `path` is a file or folder on this machine, not a hub name."""
        return Path(self.path).exists() or "*" in self.path or ending_of(self.path) in KNOWN

    def place(self, key: int) -> str:
        """File and line of row number `key`, or the data set and the row's number, in words."""
        return self._table.place(key)

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of all rows, or of a sample of rows where pictures would have to be decoded."""
        return of_rows(self, len(self) if self._table.light else SPREAD)
