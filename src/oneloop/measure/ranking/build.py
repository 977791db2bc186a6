"""Makes pools from tables in memory: long form, matrices, preferences.

Names are sorted, so the order of rows changes nothing. A cell given twice with different scores is a
conflict and needs a policy: an error (default), the first, or their mean. NaN and null are missing;
infinity is an error.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from oneloop.core.text import one_line
from oneloop.measure.ranking.cells import Conflict, cells, directed
from oneloop.measure.ranking.names import among, as_table, encode, facts_of, renumber, scores
from oneloop.measure.ranking.pool import Floats, Preferences, RankingError, SamplePool

LEFT = ("model_a", "leftvote")
RIGHT = ("model_b", "rightvote")
TIE = ("tie", "tie (bothbad)", "both_bad", "tievote", "bothbad_vote")
WINNERS = dict.fromkeys(LEFT, 1.0) | dict.fromkeys(RIGHT, 0.0) | dict.fromkeys(TIE, 0.5)
"""What arenas write for who won (cleaned tables and raw votes), and the verdict it stands for."""
NO_VERDICT = ("", "none", "null", "nan")


def from_long(
    table: Any,
    *,
    model: str = "model",
    sample: str = "sample_id",
    value: str = "score",
    source: str | None = None,
    kind: Literal["binary", "numeric"] | None = None,
    higher_is_better: bool | Mapping[str, bool] = True,
    conflict: Conflict = "error",
) -> SamplePool:
    """One row a measurement; other columns that have one value a sample become facts.

    `table`: a pyarrow Table, data frame, list of rows or mapping of columns. `source`: the column that
    tells data sets apart; sample names are then `source/sample`. `higher_is_better`: for all, or for each
    source. `kind` binary: scores must be 0 or 1. Raises RankingError for names, scores and conflicts as the
    head says.
    """
    columns = as_table(table, [model, sample, value, *([source] if source else [])])
    models, model_code = encode(columns[model], model)
    names, sample_code = encode(columns[sample], sample)
    values = scores(columns[value], value, kind)
    sources, origin = [""], np.zeros(len(names), dtype=np.int64)
    if source is not None:
        sources, source_code = encode(columns[source], source)
        used, sample_code = renumber(source_code * len(names) + sample_code)
        origin, bare = used // max(1, len(names)), used % max(1, len(names))
        names = [f"{sources[s]}/{names[b]}" for s, b in zip(origin, bare, strict=True)]
    values = directed(values, sources, origin, sample_code, higher_is_better)
    facts = facts_of(columns.drop_columns([model, value]), sample_code, len(names))
    del columns, table  # a large one is not held while its cells are sorted
    made = cells(models, names, model_code, sample_code, values, conflict)
    return SamplePool(tuple(models), objects(names), tuple(sources), origin, *made, facts=facts)


def from_matrix(
    values: NDArray[Any], models: Sequence[str], samples: Sequence[str], *, source: str = ""
) -> SamplePool:
    """`values` [m, n], NaN where missing; higher is better. Raises RankingError where names do not fit."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(models), len(samples)):
        raise RankingError(
            f"{len(models)} models and {len(samples)} samples do not name the rows and columns of a matrix "
            f"of shape {values.shape}"
        )
    for what, given in (("model", models), ("sample", samples)):
        if len(set(given)) < len(given):
            twice = next(name for name in given if list(given).count(name) > 1)
            raise RankingError(f"every {what} needs a name of its own, got '{twice}' twice")
    order = sorted(range(len(models)), key=lambda row: str(models[row]))
    names = [str(models[row]) for row in order]
    turned = values[order].T
    sample, model = np.nonzero(~np.isnan(turned))
    made = cells(names, samples, model, sample, turned[sample, model], "error")
    return SamplePool(
        tuple(names), objects(samples), (source,), np.zeros(len(samples), dtype=np.int64), *made
    )


def from_preferences(
    table: Any,
    *,
    model_a: str = "model_a",
    model_b: str = "model_b",
    winner: str = "winner",
    sample: str | None = None,
    weight: str | None = None,
    source: str = "",
) -> SamplePool:
    """One row a verdict: `winner` is model_a, model_b or tie; null is no verdict and is left out.

    Without a `sample` column every row is a sample of its own. A model against itself says nothing: such rows
    are left out with a warning. Raises RankingError for other winners and negative weights.
    """
    columns = as_table(table, [model_a, model_b, winner, *(name for name in (sample, weight) if name)])
    verdict = verdicts(columns[winner])
    kept = ~np.isnan(verdict) & ~_same(columns[model_a], columns[model_b], columns[winner])
    if not kept.all():
        columns, verdict = columns.filter(pa.array(kept)), verdict[kept]
    left_names, left = encode(columns[model_a], model_a)
    right_names, right = encode(columns[model_b], model_b)
    models = sorted({*left_names, *right_names})
    left, right = among(models, left_names)[left], among(models, right_names)[right]
    weights = np.ones(len(left)) if weight is None else scores(columns[weight], weight)
    if not (weights >= 0).all():
        raise RankingError(f"{weight}: must not be negative or missing, got {weights[~(weights >= 0)][0]}")
    if sample is None:
        names, rows = numbered(source or "row", len(left)), np.arange(len(left))
    else:
        found, rows = encode(columns[sample], sample)
        names = objects(found)
    n = len(names)
    facts = facts_of(columns.drop_columns([model_a, model_b, winner]), rows, n)
    empty = (np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0))
    made = Preferences(left, right, rows, verdict, weights)
    return SamplePool(tuple(models), names, (source,), np.zeros(n, dtype=np.int64), *empty, made, facts)


def _same(left: Any, right: Any, winner: Any) -> NDArray[np.bool_]:
    """bool [q]: rows with a verdict of a model against itself; warns of them, with the first one's number."""
    equal = pc.fill_null(pc.equal(left.cast(pa.string()), right.cast(pa.string())), False)
    same: NDArray[np.bool_] = equal.to_numpy() & ~np.isnan(verdicts(winner))
    if same.any():
        first = int(np.flatnonzero(same)[0])
        name = one_line(str(left[first].as_py()), 60)
        warnings.warn(
            f"{int(same.sum())} of {len(same)} verdicts compare a model with itself and are left out; the "
            f"first is row {first} (counted from 0), '{name}'",
            stacklevel=4,
        )
    return same


def verdicts(column: Any) -> Floats:
    """float64 [q]: 1, 0, 0.5, or NaN for no verdict. Raises RankingError for any other label."""
    labels, codes = encode(column, "winner", null="none")
    numbers = WINNERS | dict.fromkeys(NO_VERDICT, np.nan)
    unknown = [label for label in labels if label.lower() not in numbers]
    if unknown:
        raise RankingError(f"winner: must be model_a, model_b or tie, got '{unknown[0]}'")
    return np.array([numbers[label.lower()] for label in labels], dtype=np.float64)[codes]


def objects(names: Sequence[str]) -> NDArray[np.object_]:
    """Names as an array that can be indexed by numbers."""
    made = np.empty(len(names), dtype=object)
    made[:] = names
    return made


def numbered(name: str, size: int) -> NDArray[np.object_]:
    """Names `name 0`, `name 1` ... as an object array."""
    numbers = pa.array(np.arange(size)).cast(pa.string())
    joined: NDArray[np.object_] = pc.binary_join_element_wise(name, numbers, " ").to_numpy(
        zero_copy_only=False
    )
    return joined
