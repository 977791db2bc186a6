"""Reads Parquet tables whose size is bounded before and while they are read.

A few kilobytes of Parquet can stand for a thousand million rows, or unpack to gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from oneloop.core.text import one_line
from oneloop.measure.ranking.pool import RankingError

LARGEST = 2 << 30
"""Bytes a table may take in memory; a larger one only if its file is at least a RATIO-th of it."""
RATIO = 50
BATCH = 1 << 16
"""Rows read at a time."""


def schema_of(path: Path) -> pa.Schema:
    """Names and types of the columns. Raises RankingError for what is no Parquet file."""
    try:
        return pyarrow.parquet.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        words = one_line(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise RankingError(f"cannot be read as Parquet: {words}") from None


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table, or some of its columns; texts stay encoded as numbers. Raises RankingError if too large."""
    schema = schema_of(path)
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    most = max(LARGEST, RATIO * path.stat().st_size)
    try:
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            about = file.metadata
            wanted = len(columns) if columns is not None else about.num_columns
            unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            if max(about.num_rows * wanted, unpacked) > most:
                raise RankingError(
                    _too_large(most, f"{about.num_rows:,} rows, {unpacked >> 20:,} MiB unpacked")
                )
            pieces, size = [], 0
            for batch in file.iter_batches(BATCH, columns=list(columns) if columns is not None else None):
                size += batch.nbytes
                if size > most:
                    raise RankingError(_too_large(most, "while being read"))
                pieces.append(batch)
            if not pieces:
                empty = file.schema_arrow.empty_table()
                return empty if columns is None else empty.select(list(columns))
            return pa.Table.from_batches(pieces)
    except (pa.ArrowException, OSError) as error:
        words = one_line(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise RankingError(f"cannot be read as Parquet: {words}") from None


def _too_large(most: int, what: str) -> str:
    return f"would take more than {most >> 20:,} MiB in memory ({what})"
