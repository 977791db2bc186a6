"""Columns of names and numbers from any table, as numpy: names become numbers into a sorted list."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from oneloop.measure.ranking.pool import Floats, Integers, RankingError

FEW = 1 << 27
"""Up to so many possible codes, renumbering marks them instead of sorting."""
MOST_CELLS = 1 << 26
"""Cells of a table that is made of rows; rows without common columns would need more than they hold."""


def as_table(table: Any, needed: Sequence[str]) -> pa.Table:
    """A pyarrow Table of a data frame, mapping of columns, list of rows, or Table.

    Raises RankingError when it lacks one of the columns `needed`.
    """
    if isinstance(table, list):
        table = _of_rows(table)
    made = table if isinstance(table, pa.Table) else pa.table(table)
    lacking = [name for name in needed if name not in made.column_names]
    if lacking:
        raise RankingError(
            f"the table lacks the column{'s'[: len(lacking) > 1]} {', '.join(lacking)}; "
            f"it has {', '.join(made.column_names) or 'none'}"
        )
    return made


def _of_rows(rows: list[dict[str, Any]]) -> pa.Table:
    """A table with every column that any row has; null where a row lacks it."""
    names = dict.fromkeys(name for row in rows for name in row)
    if len(rows) * len(names) > MOST_CELLS:
        raise RankingError(f"{len(rows)} rows of {len(names)} different columns are too many to be a table")
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def encode(column: Any, what: str, null: str | None = None) -> tuple[list[str], Integers]:
    """(names, sorted; int64 [r], the number of each row's name).

    A null row stands for the name `null`; without it, RankingError, which says how many there are.
    """
    column = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    if column.null_count:
        if null is None:
            raise RankingError(f"{what}: {column.null_count} of {len(column)} rows have no name")
        column = pc.fill_null(column.cast(pa.string()), null)
    if not pa.types.is_dictionary(column.type):
        column = (column if pa.types.is_string(column.type) else column.cast(pa.string())).dictionary_encode()
    column = column.unify_dictionaries()
    if not column.num_chunks or not len(column):
        return [], np.zeros(0, dtype=np.int64)
    names = column.chunk(0).dictionary.cast(pa.string()).to_pylist()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
    used, codes = renumber(codes)
    names = [names[number] for number in used]
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    return [names[number] for number in order], place[codes]


def renumber(codes: NDArray[Any]) -> tuple[Integers, Integers]:
    """(the codes that occur, ascending; int64 [r], the place of each among them)."""
    highest = int(codes.max(initial=-1)) + 1
    if highest > FEW:
        used, places = np.unique(codes, return_inverse=True)
        return used.astype(np.int64), places.astype(np.int64)
    seen = np.zeros(highest, dtype=bool)
    seen[codes] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[codes]


def among(names: Sequence[str], some: Sequence[str]) -> Integers:
    """int64 [s], the place of each of `some` in `names`, where all of them are."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in some], dtype=np.int64)


def scores(column: Any, what: str, kind: str | None = None) -> Floats:
    """float64 [r], NaN where null. Raises RankingError for infinity, words, and not 0 or 1 if binary."""
    try:
        values: Floats = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise RankingError(f"{what}: must be numbers: {str(error).splitlines()[0]}") from None
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise RankingError(f"{what}: row {row} is {values[row]}; scores are finite, and NaN where missing")
    if kind == "binary" and len(odd := values[~np.isin(values, (0, 1)) & ~np.isnan(values)]):
        raise RankingError(f"{what}: kind is binary, so scores are 0 or 1, got {odd[0]}")
    return values


def facts_of(columns: pa.Table, sample: Integers, n: int) -> dict[str, list[Any]]:
    """What `columns` [r] say of samples: those with one value a sample, as n values each."""
    first = np.full(n, -1)
    first[sample[::-1]] = np.arange(len(sample))[::-1]
    facts = {}
    for name in columns.column_names:
        column = columns[name]
        if not (pa.types.is_nested(column.type) or pa.types.is_dictionary(column.type)):
            codes = column.dictionary_encode().unify_dictionaries()
            flat = np.concatenate(
                [pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False) for chunk in codes.chunks]
                or [np.zeros(0)]
            )
            if not (flat == flat[first][sample]).all():
                continue
        facts[name] = column.take(pa.array(first)).to_pylist()
    return facts
