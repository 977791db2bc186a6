"""Logs of inspect-ai: .eval archives and .json logs, one model on one task each.

Verdicts are read as inspect does: C 1, P 0.5, I and N 0, true and false, numbers. Epochs are averaged.
Several scorers: the first, or the one `metric` names; a scorer with several values: `metric` is
scorer/value.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneloop.measure.ranking.build import from_long
from oneloop.measure.ranking.pool import RankingError, SamplePool

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import Reading

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def is_log(path: Path) -> bool:
    """Is a .json file a log of inspect-ai? Looks at its beginning only."""
    with path.open(errors="replace") as file:
        head = file.read(4000).lstrip()
    return head.startswith("{") and '"eval"' in head and '"task"' in head


def read_inspect(path: Path, how: Reading) -> SamplePool:
    """One log, or all logs below a folder. Raises RankingError for scores that are no number or letter."""
    logs = [path]
    if path.is_dir():
        logs = sorted([*path.rglob("*.eval"), *(found for found in path.rglob("*.json") if is_log(found))])
    rows = [row for log in logs for row in _rows(log, how.metric)]
    if not rows:
        raise RankingError("the logs hold no scored samples")
    turned = dict.fromkeys(how.lower_is_better, False)
    return from_long(rows, source="source", higher_is_better=turned or True, conflict="mean")


def _rows(log: Path, metric: str) -> Iterator[dict[str, Any]]:
    about, samples = _archive(log) if log.suffix == ".eval" else _json(log)
    for sample in samples:
        if not (given := sample.get("scores")):
            continue  # the sample failed: no verdict
        name, _, part = metric.partition("/")
        name = name or next(iter(given))
        if name not in given:
            raise RankingError(f"{log.name}: no scorer is called '{name}'; there are {', '.join(given)}")
        yield {
            "model": about["model"],
            "source": about["task"],
            "sample_id": str(sample["id"]),
            "score": _number(given[name]["value"], part, f"{log.name}, sample {sample['id']}"),
            "text": _text(sample.get("input")),
        }


def _number(value: Any, part: str, where: str) -> float | None:
    if isinstance(value, Mapping):
        if part not in value:
            raise RankingError(
                f"{where}: the score has the values {', '.join(value)}; say which (scorer/value)"
            )
        value = value[part]
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str) and (value in LETTERS or value.lower() in LETTERS):
        return LETTERS.get(value, LETTERS.get(value.lower()))
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RankingError(f"{where}: the score is {value!r}, neither a number nor C, P, I, N") from None


def _text(given: Any) -> str | None:
    if isinstance(given, list):
        words = [message.get("content") for message in given if message.get("role") == "user"]
        return next((word for word in words if isinstance(word, str)), None)
    return given if isinstance(given, str) else None


def _json(log: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    whole = json.loads(log.read_text())
    return whole["eval"], whole.get("samples") or []


def _archive(log: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(log) as archive:
            names = archive.namelist()
            head = "header.json" if "header.json" in names else "_journal/start.json"
            about = json.loads(archive.read(head))["eval"]
            found = [name for name in names if name.startswith("samples/") and name.endswith(".json")]
            return about, [json.loads(archive.read(name)) for name in sorted(found)]
    except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise RankingError(
            f"{log.name} is no log that can be read here ({error}); export it as .json"
        ) from None
