"""AlpacaEval annotations: how much a judge preferred each model's answer to the baseline's.

`preference` runs from 1 (generator_1, the baseline) to 2 (generator_2, the model); weighted annotators give
any number between. The score of the model is preference - 1, that of the baseline on the same sample 0.5: a
sample is one instruction before one baseline and one judge. 0 is no verdict: missing, not a loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneloop.measure.ranking.build import from_long
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.readers.files import json_rows, shown

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import ReaderOptions


def read_alpaca(path: Path, how: ReaderOptions) -> SamplePool:
    """An annotations.json. Raises RankingError for a preference that is neither 0 nor from 1 to 2."""
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(json_rows(path)):
        if not (preference := row.get("preference")):
            continue
        if not isinstance(preference, int | float) or not 1 <= preference <= 2:
            raise RankingError(
                f"row {number}: a preference is 0 (none) or from 1 to 2, got {shown(preference)}"
            )
        for name in ("generator_1", "generator_2", "instruction"):
            if not isinstance(row.get(name), str):
                raise RankingError(f"row {number}: '{name}' must be a text, got {shown(row.get(name))}")
        source = f"{row.get('annotator', 'judge')} against {row['generator_1']}"
        about = {"sample_id": row["instruction"], "source": source, "text": row["instruction"]}
        about["data"] = None if row.get("dataset") is None else str(row["dataset"])
        rows.append({"model": row["generator_2"], "score": preference - 1.0, **about})
        rows.append({"model": row["generator_1"], "score": 0.5, **about})
    if not rows:
        raise RankingError("no row has a preference")
    return from_long(rows, source="source", conflict=how.conflict)
