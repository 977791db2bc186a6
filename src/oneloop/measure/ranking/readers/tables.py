"""Tables of measurements: long form, wide matrices and arena battles, as CSV, TSV, Parquet or JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from oneloop.measure.ranking.build import from_long, from_matrix, from_preferences
from oneloop.measure.ranking.names import as_table, encode, scores
from oneloop.measure.ranking.pool import RankingError, SamplePool

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import Reading

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
    """The same; raises RankingError where there is none."""
    found = named(table.column_names, what, columns)
    if found is None:
        raise RankingError(
            f"no column for {what}: tried {', '.join(ALIASES[what])}; the table has "
            f"{', '.join(table.column_names[:12])} (say --column {what}=NAME)"
        )
    return found


def read_long(path: Path, how: Reading) -> SamplePool:
    """A row a measurement."""
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


def read_wide(path: Path, how: Reading) -> SamplePool:
    """A row a model, a column a sample; the source is the file's name."""
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


def read_arena(path: Path, how: Reading) -> SamplePool:
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
            return _parquet(path, head)
        if name.endswith((".csv", ".tsv")):
            return _csv(path, "\t" if name.endswith(".tsv") else ",", head)
        if name.endswith((".jsonl", ".json")):
            rows = json_rows(path)
            return as_table(rows[:1] if head else rows, [])
    except (pa.ArrowException, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RankingError(f"cannot be read: {str(error).splitlines()[0]}") from None
    raise RankingError(f"no known format: {path.name} is no .csv, .tsv, .parquet, .json or .jsonl")


def _parquet(path: Path, head: bool) -> pa.Table:
    schema = pyarrow.parquet.read_schema(path)
    if head:
        return schema.empty_table()
    words = [column.name for column in schema if pa.types.is_string(column.type)]
    return pyarrow.parquet.read_table(path, read_dictionary=words)


def _csv(path: Path, delimiter: str, head: bool) -> pa.Table:
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pyarrow.csv.ConvertOptions(null_values=EMPTY, strings_can_be_null=True)
    if head:
        with pyarrow.csv.open_csv(path, parse_options=parse, convert_options=convert) as reader:
            return reader.schema.empty_table()
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list or of JSON lines. Raises RankingError for anything else."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        text = file.read()
    rows = (
        json.loads(text)
        if text.lstrip().startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    if not all(isinstance(row, dict) for row in rows):
        raise RankingError("must hold a list of objects, or an object a line")
    return list(rows)
