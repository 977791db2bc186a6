"""Tables with typed columns: Parquet, Arrow, Feather, and the hub's own formats, as `datasets` reads them.

A value that cannot be sent to a judge in another process becomes text: a date or time in ISO 8601, a decimal
with all its digits. A class (`datasets.ClassLabel`) becomes its name. Pictures and bytes stay as they are.
"""

import datetime
import decimal
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from oneloop.sample.data.files.text_table import Row

NARROW: dict[str, type[np.floating[Any]]] = {"float16": np.float16, "float32": np.float32}


class TypedTable:
    """Rows of a `datasets.Dataset`."""

    def __init__(self, name: str, table: Any):
        self._name, self._table = name, table
        self.columns: list[str] = list(table.column_names)
        self._narrow = {
            name: partial(_shortest, NARROW[kind])
            for name, feature in table.features.items()
            if (kind := getattr(feature, "dtype", "")) in NARROW
        }
        self._classes = {name: feature for name, feature in table.features.items() if _holds_classes(feature)}
        self.light = not any(hasattr(feature, "decode_example") for feature in table.features.values())

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, key: int) -> Row:
        """Row number `key`. Raises ValueError when a picture in it cannot be opened."""
        try:
            row = self._table[key]
        except (OSError, ValueError, SyntaxError) as error:  # Pillow's errors for a broken picture
            raise ValueError(f"{self.place(key)} cannot be read: {type(error).__name__}: {error}") from None
        # 0.1 as a float of 4 bytes is 0.10000000149011612, which is nobody's answer
        row |= {name: float(self._narrow[name](row[name])) for name in self._narrow if row[name] is not None}
        row |= {name: _by_name(feature, row[name]) for name, feature in self._classes.items()}
        return {name: told(value) for name, value in row.items()}

    def place(self, key: int) -> str:
        """Where row number `key` is, in words."""
        return f"{self._name} row {key}"


def _inner(feature: Any) -> Any:
    """The feature of each item of a list; None where `feature` is no list."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _holds_classes(feature: Any) -> bool:
    """Whether `feature` of `datasets` is a class, or has one inside."""
    if isinstance(feature, Mapping):
        return any(map(_holds_classes, feature.values()))
    inner = _inner(feature)
    return hasattr(feature, "int2str") if inner is None else _holds_classes(inner)


def _by_name(feature: Any, value: Any) -> Any:
    """`value` with the names of classes for their numbers; -1, which says that there is none, is None."""
    if value is None or not _holds_classes(feature):
        return value
    if isinstance(feature, Mapping):
        return {name: _by_name(part, value[name]) for name, part in feature.items()}
    inner = _inner(feature)
    if inner is not None:
        return [_by_name(inner, item) for item in value]
    return feature.int2str(value) if value >= 0 else None


def _shortest(kind: type[np.floating[Any]], value: float) -> str:
    """The shortest decimal that is `value` in a narrow type."""
    return str(kind(value))


def told(value: Any) -> Any:
    """`value` with dates, times and decimals turned into text, also inside lists and mappings."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    if isinstance(value, np.generic):
        return told(value.item())
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return value
