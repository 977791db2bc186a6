"""A data set of the Hugging Face hub, or a local JSON, JSONL, CSV or Parquet file, through `datasets`.

Loaded at the first use and cached by `datasets` on disk. Columns: see `columns.py`; images and whatever
else a row has are passed on as they are. Left out: streaming (a plan asks for rows by number, in any order).
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from oneloop.core.part import part
from oneloop.sample.data.columns import as_row, check_columns

FORMATS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


@part()
class Hub:
    """Rows of `path`, each with `prompt` and whatever columns the data has."""

    path: str
    """Name on the hub, a local folder of data files, or a file (.json, .jsonl, .csv, .parquet; * allowed)."""
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

    @cached_property
    def _table(self) -> Any:
        table = load(self.path, self.split, self.name, self.revision)
        where = f"{self.path} [{self.split}]"
        if not len(table):
            raise ValueError(f"{where} is empty (columns: {', '.join(table.column_names) or 'none'})")
        check_columns(table.column_names, self.input_key, self.label_key, where)
        return table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number. Raises IndexError outside 0..len-1, ValueError for a malformed row."""
        if not 0 <= key < len(self):
            raise IndexError(f"row {key} of {self.path}: there are {len(self)} rows")
        return as_row(self._table[key], self.input_key, self.label_key, f"{self.path} row {key}")


def load(path: str, split: str, name: str | None = None, revision: str | None = None) -> Any:
    """A `datasets.Dataset`. Raises ValueError saying what there is when path, split or name do not exist."""
    import datasets

    suffix = Path(path).suffix
    is_file = Path(path).is_file() or "*" in path
    if suffix in FORMATS and not is_file:
        raise ValueError(f"no such file: {path}")
    if is_file and suffix not in FORMATS:
        raise ValueError(f"{path}: cannot read '{suffix}' files; known: {', '.join(FORMATS)}")
    try:
        if is_file:
            return datasets.load_dataset(
                FORMATS[suffix], name=name, data_files=path, split=split, revision=revision
            )
        return datasets.load_dataset(path, name=name, split=split, revision=revision)
    except StopIteration:  # what `datasets` says of a file without a line
        raise ValueError(f"{path} is empty") from None
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        # an unknown split or configuration is a ValueError of `datasets` that lists the known ones
        kind = "" if Path(path).exists() or "*" in path else " (there is no such local file or folder either)"
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise ValueError(f"cannot load {path} [{split}]{kind}: {error}{cause}") from error
