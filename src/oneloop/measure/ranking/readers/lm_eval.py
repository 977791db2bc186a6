"""Sample logs of lm-evaluation-harness (`--log_samples`): MODEL/samples_TASK_DATE.jsonl.

The model is the folder's name (`__` was a slash). Newer logs list their metrics; in older ones the usual
names are tried. A task with several filters has a row for each: `metric` may name one, as in
exact_match,strict-match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneloop.measure.ranking.build import from_long
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.readers.files import fields_of, in_file, json_rows, shown

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import ReaderOptions

NAME = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d\-.:]+)?\.jsonl$")
USUAL = ("exact_match", "acc", "acc_norm", "em", "f1", "pass@1", "mc2", "mc1", "bleu", "rougeL", "score")


def read_lm_eval(path: Path, how: ReaderOptions) -> SamplePool:
    """One log, or all logs below a folder. Raises RankingError where a metric is missing or no number."""
    logs = sorted(found for found in path.rglob("samples_*.jsonl")) if path.is_dir() else [path]
    rows = [row for log in logs for row in in_file(log, lambda log: _rows(log, how.metric))]
    if not rows:
        raise RankingError("the logs hold no samples")
    turned = dict.fromkeys(how.lower_is_better, False)
    return from_long(rows, source="source", higher_is_better=turned or True, conflict=how.conflict)


def _rows(log: Path, wanted: str) -> list[dict[str, Any]]:
    found = NAME.match(log.name)
    task = found["task"] if found else log.stem
    metric, _, chosen = wanted.partition(",")
    rows, first = [], None
    for number, row in enumerate(json_rows(log)):
        first = row.get("filter") if first is None else first
        if row.get("filter") != (chosen or first):
            continue
        listed = row.get("metrics")
        known = [str(name) for name in listed] if isinstance(listed, list) and listed else None
        name = metric or next(iter(known or [key for key in USUAL if key in row]), "")
        value = row.get(name)
        if not isinstance(value, int | float):
            there = ", ".join(known) if known else fields_of(row)
            raise RankingError(f"row {number}: '{name}' is {shown(value)}, not a number; there are {there}")
        text = _question(row)
        sample = {"sample_id": str(row.get("doc_id", number)), "source": task, "text": text}
        rows.append({"model": log.parent.name.replace("__", "/"), "score": float(value), **sample})
    return rows


def _question(row: Mapping[str, Any]) -> str | None:
    """The question of the document, else the first prompt that was sent."""
    document = row.get("doc")
    if isinstance(document, Mapping):
        for key in ("question", "query", "problem", "prompt", "input", "text"):
            if isinstance(document.get(key), str):
                return str(document[key])
    sent: Any = row.get("arguments")
    while isinstance(sent, Mapping | list) and sent:
        sent = next(iter(sent.values())) if isinstance(sent, Mapping) else sent[0]
    return sent if isinstance(sent, str) else None
