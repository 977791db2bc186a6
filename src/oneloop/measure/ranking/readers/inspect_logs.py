"""Logs of inspect-ai: .eval archives and .json logs, one model on one task each.

Verdicts are read as inspect does: C 1, P 0.5, I and N 0, true and false, numbers. Epochs are averaged.
Several scorers: the first, or the one `metric` names; a scorer with several values: `metric` is
scorer/value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneloop.measure.ranking.build import from_long
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.readers.archives import Archive
from oneloop.measure.ranking.readers.files import fields_of, json_of, shown, text_of

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import ReaderOptions

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def is_log(path: Path) -> bool:
    """Is a .json file a log of inspect-ai? Looks at its beginning only."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(4000).lstrip("\ufeff \n\r\t")
    return head.startswith("{") and '"eval"' in head and '"task"' in head


def read_inspect(path: Path, how: ReaderOptions) -> SamplePool:
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
    samples = _archive(log) if log.suffix == ".eval" else _json(log)
    about = _about(next(samples), log.name)
    for sample in samples:
        where = f"{log.name}, sample {shown(sample.get('id'))}" if isinstance(sample, Mapping) else log.name
        given = sample.get("scores") if isinstance(sample, Mapping) else 0
        if given is None or given == {}:
            continue  # the sample failed: no verdict
        if not isinstance(given, Mapping):
            raise RankingError(f"{where}: the scores must be an object, got {shown(given)}")
        name, _, part = metric.partition("/")
        name = name or str(next(iter(given)))
        if not isinstance(given.get(name), Mapping) or "value" not in given[name]:
            raise RankingError(f"{where}: no scorer is called '{name}'; there are {fields_of(given)}")
        yield {
            **about,
            "sample_id": str(sample.get("id")),
            "score": _number(given[name]["value"], part, where),
            "text": _text(sample.get("input")),
        }


def _about(head: Any, name: str) -> dict[str, str]:
    """Model and task of a log. Raises RankingError where its header does not say them."""
    told = head.get("eval") if isinstance(head, Mapping) else None
    if not (
        isinstance(told, Mapping) and isinstance(told.get("model"), str) and isinstance(told.get("task"), str)
    ):
        raise RankingError(f"{name} is no log of inspect-ai: its header names no model and task")
    return {"model": told["model"], "source": told["task"]}


def _number(value: Any, part: str, where: str) -> float | None:
    if isinstance(value, Mapping):
        if part not in value:
            raise RankingError(
                f"{where}: the score has the values {fields_of(value)}; say which (scorer/value)"
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
        raise RankingError(f"{where}: the score is {shown(value)}, neither a number nor C, P, I, N") from None


def _text(given: Any) -> str | None:
    if isinstance(given, list):
        said = [
            message for message in given if isinstance(message, Mapping) and message.get("role") == "user"
        ]
        return next((m["content"] for m in said if isinstance(m.get("content"), str)), None)
    return given if isinstance(given, str) else None


def _json(log: Path) -> Iterator[Any]:
    """The header, then the samples."""
    whole = json_of("".join(line for _, line in text_of(log)), log.name)
    yield whole
    samples = whole.get("samples") if isinstance(whole, Mapping) else None
    yield from samples if isinstance(samples, list) else []


def _archive(log: Path) -> Iterator[Any]:
    """The header, then the samples, each unpacked when it is its turn."""
    with Archive(log) as archive:
        head = "header.json" if "header.json" in archive.members else "_journal/start.json"
        yield json_of(archive.read(head), f"{log.name}: {head}")
        for name in sorted(archive.members):
            if name.startswith("samples/") and name.endswith(".json"):
                yield json_of(archive.read(name), f"{log.name}: {name}")
