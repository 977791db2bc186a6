"""What judges log beside their scores (TRL's log_extra, further entries of a dict), as columns and metrics.

extra.<judge>          {name: value} of each rollout, as a judge writes it
extra.<judge>.<name>   a column of the Parquet files
<judge>/<name>         a metric: the mean of the numbers in it
"""

import math
from typing import Any

from oneloop.core.rollouts import Rollouts
from oneloop.core.text import unicode

EXTRA = "extra."
LARGEST = 2**63
Column = list[Any]


def logged_columns(rollouts: Rollouts) -> dict[str, Column]:
    """{extra.<judge>.<name>: a value or None of each rollout}, the values of a column of one type."""
    found: dict[str, Column] = {}
    for column in rollouts:
        if column.startswith(EXTRA):
            rows = rollouts[column]
            names = dict.fromkeys(name for row in rows for name in row)
            found |= {f"{column}.{name}": _of_one_type([row.get(name) for row in rows]) for name in names}
    return found


def logged_means(rollouts: Rollouts) -> dict[str, float]:
    """{<judge>/<name>: mean} of the columns that hold numbers."""
    means: dict[str, float] = {}
    for column, values in logged_columns(rollouts).items():
        numbers = [float(value) for value in values if isinstance(value, bool | int | float)]
        numbers = [number for number in numbers if math.isfinite(number)]
        if numbers:
            judge, _, name = column.removeprefix(EXTRA).partition(".")
            means[f"{judge}/{name}"] = sum(numbers) / len(numbers)
    return means


def with_all_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` of several tables as one: each has every logged column, and a column has one type."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(EXTRA))
    columns = {name: _of_one_type([row.get(name) for row in rows]) for name in names}
    return [row | {name: columns[name][i] for name in names} for i, row in enumerate(rows)]


def _of_one_type(values: Column) -> Column:
    """`values` as a table can hold them: all true or false, all whole, all numbers, or else all text."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in there):
        return values
    if all(isinstance(value, int) and -LARGEST <= value < LARGEST for value in there):
        return [None if value is None else int(value) for value in values]
    if all(isinstance(value, int | float) for value in there):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else unicode(str(value)) for value in values]
