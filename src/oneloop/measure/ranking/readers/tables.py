"""Tables of measurements: long form, wide matrices and arena battles, as CSV, TSV, Parquet or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from oneloop.core.text import one_line
from oneloop.measure.ranking.build import from_long, from_matrix, from_preferences
from oneloop.measure.ranking.names import as_table, encode, scores
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.readers.files import json_rows, opened, text_of
from oneloop.measure.ranking.readers.parquet import read_parquet, schema_of

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import ReaderOptions

ALIASES: dict[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "generator"),
    "sample": ("sample_id", "sample", "data_instance", "instance_id", "question_id", "doc_id"),
    "score": ("score", "value"),
    "source": ("dataset", "source", "task", "benchmark", "scenario"),
    "model_a": ("model_a", "left"),
    "model_b": ("model_b", "right"),
    "winner": ("winner",),
}
"""Names under which a column is recognised, the likeliest first."""
EMPTY = ["", "NaN", "nan", "null", "NULL", "None"]


def named(names: Iterable[str], what: str, columns: Mapping[str, str]) -> str | None:
    """The column for `what` among `names`: as `columns` says, else a usual name; None: none."""
    if what in columns:
        return columns[what]
    return next((alias for alias in ALIASES[what] if alias in set(names)), None)


def needed(table: pa.Table, what: str, columns: Mapping[str, str]) -> str:
    """The column for `what`, as `named` finds it. Raises RankingError where there is none."""
    found = named(table.column_names, what, columns)
    if found is None:
        raise RankingError(
            f"no column for {what}: tried {', '.join(ALIASES[what])}; the table has "
            f"{', '.join(table.column_names[:12])} (say --column {what}=NAME)"
        )
    return found


def read_long(path: Path, how: ReaderOptions) -> SamplePool:
    """Reads a table with one row for each measurement."""
    table = read_table(path)
    source = named(table.column_names, "source", how.columns)
    return from_long(
        table,
        model=needed(table, "model", how.columns),
        sample=needed(table, "sample", how.columns),
        value=needed(table, "score", how.columns),
        source=source,
        higher_is_better=dict.fromkeys(how.lower_is_better, False) if source else not how.lower_is_better,
        conflict=how.conflict,
    )


def read_wide(path: Path, how: ReaderOptions) -> SamplePool:
    """Reads a table with a row for each model and a column for each sample; its source is its file's name."""
    table = read_table(path)
    model, source = needed(table, "model", how.columns), path.name.split(".")[0]
    names, codes = encode(table[model], model)
    if len(names) < len(codes):
        raise RankingError(f"a wide table has one row a model, got {len(codes)} rows of {len(names)} models")
    samples = [name for name in table.column_names if name != model]
    values = np.stack([scores(table[name], name) for name in samples], axis=1)
    sign = -1.0 if source in how.lower_is_better else 1.0
    rows = [names[code] for code in codes]
    return from_matrix(sign * values, rows, [f"{source}/{name}" for name in samples], source=source)


def read_arena(path: Path, how: ReaderOptions) -> SamplePool:
    """A row a battle; battles on one sample (question_id ...) are one cluster, otherwise each is its own."""
    table = read_table(path)
    columns = {what: needed(table, what, how.columns) for what in ("model_a", "model_b", "winner")}
    sample = named(table.column_names, "sample", how.columns)
    weight = "weight" if "weight" in table.column_names else None
    return from_preferences(table, **columns, sample=sample, weight=weight, source=path.name.split(".")[0])


def read_table(path: Path, head: bool = False) -> pa.Table:
    """A table of any of the formats; with `head` only its columns count. Raises RankingError for others."""
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            return schema_of(path).empty_table() if head else read_parquet(path)
        if name.endswith((".csv", ".tsv")):
            return _csv(path, "\t" if name.endswith(".tsv") else ",", head)
        if name.endswith((".jsonl", ".json")):
            return as_table(json_rows(path), [])
    except (pa.ArrowException, OverflowError, UnicodeDecodeError) as error:
        if name.endswith((".csv", ".tsv")):
            for _ in text_of(path):  # says the line, where it is the encoding
                pass
        words = one_line(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise RankingError(f"cannot be read: {words}") from None
    raise RankingError(f"no known format: {path.name} is no .csv, .tsv, .parquet, .json or .jsonl")


def _csv(path: Path, delimiter: str, head: bool) -> pa.Table:
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pyarrow.csv.ConvertOptions(null_values=EMPTY, strings_can_be_null=True)
    with opened(path) as file:
        if head:
            with pyarrow.csv.open_csv(file, parse_options=parse, convert_options=convert) as reader:
                found = reader.schema.empty_table()
        else:
            found = pyarrow.csv.read_csv(file, parse_options=parse, convert_options=convert)
    if any(pa.types.is_binary(field.type) for field in found.schema):
        for _ in text_of(path):  # Arrow takes what is not UTF-8 for bytes; this says the line
            pass
    names = found.column_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RankingError(f"two columns are called '{one_line(twice, 60)}'")
    first = names[0] if found.num_columns == 1 else ""
    if other := next((mark for mark in (";", "\t", ",", "|") if mark in first), None):
        raise RankingError(
            f"the columns must be separated by {delimiter!r}, got {other!r} in the first line ({first[:60]})"
        )
    return found
