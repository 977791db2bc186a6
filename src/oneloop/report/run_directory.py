"""Reads a run directory: recipe, environment, metrics by kind. Faults are said with the file and the line.

A last line of metrics.jsonl that breaks off is what a killed process leaves; it is left out and mentioned.
Rollouts are read apart (rollout_tables.py), since they are large.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]

KINDS = ("step", "eval", "budget", "doctor", "summary")


class RunDirectoryError(ValueError):
    """A run directory that is missing, incomplete or damaged."""


@dataclass(frozen=True)
class RunDirectory:
    """What a run wrote, rollouts excepted."""

    path: Path
    recipe: str
    environment: Record
    steps: list[Record]
    evals: list[Record]
    doctor: list[Record]
    budgets: list[Record] = field(default_factory=list)
    """Evaluations of subnets."""
    summary: Record = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def phases(self) -> list[tuple[str, int, int]]:
        """(name, first step, last step) of each phase, in order."""
        spans: dict[str, tuple[int, int]] = {}
        for row in self.steps:
            first, last = spans.get(row["phase"], (row["step"], row["step"]))
            spans[row["phase"]] = min(first, row["step"]), max(last, row["step"])
        return [(name, first, last) for name, (first, last) in spans.items()]


def read_run(path: Path) -> RunDirectory:
    """Read `path`; raises RunDirectoryError naming what is missing or damaged and what to do."""
    _check(path)
    records, remarks = _read_metrics(path / "metrics.jsonl")
    steps = sorted((r for r in records if r["kind"] == "step"), key=lambda r: r["step"])
    summaries = [r for r in records if r["kind"] == "summary"]
    if not summaries:
        remarks.append("The run wrote no summary: it is still going on, or was stopped before its end.")
    return RunDirectory(
        path=path,
        recipe=_read_text(path / "recipe.yaml"),
        environment=_read_environment(path / "environment.json"),
        steps=steps,
        evals=[r for r in records if r["kind"] == "eval"],
        doctor=[r for r in records if r["kind"] == "doctor"],
        budgets=[r for r in records if r["kind"] == "budget"],
        summary=summaries[-1] if summaries else {},
        remarks=tuple(remarks),
    )


def _check(path: Path) -> None:
    if not path.is_dir():
        beside = (
            sorted(p.parent.name for p in path.parent.glob("*/metrics.jsonl")) if path.parent.is_dir() else []
        )
        known = f" Run directories beside it: {', '.join(beside[:8])}." if beside else ""
        raise RunDirectoryError(f"There is no run directory at {path}.{known}")
    missing = [
        name for name in ("metrics.jsonl", "recipe.yaml", "environment.json") if not (path / name).is_file()
    ]
    if missing:
        raise RunDirectoryError(
            f"{path} is not a complete run directory: it lacks {', '.join(missing)}. `oneloop train` writes "
            "these files when a run starts; give the folder that holds them."
        )


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunDirectoryError(f"{file} is damaged: not UTF-8 at byte {error.start}.") from error


def _read_environment(file: Path) -> Record:
    try:
        environment = json.loads(_read_text(file))
    except json.JSONDecodeError as error:
        raise RunDirectoryError(f"{file} is damaged: {error.msg} at line {error.lineno}.") from error
    if not isinstance(environment, dict):
        raise RunDirectoryError(f"{file} must hold a JSON object, got {type(environment).__name__}.")
    return environment


def _read_metrics(file: Path) -> tuple[list[Record], list[str]]:
    """(records, remarks); a torn last line becomes a remark."""
    lines = _read_text(file).split("\n")
    records: list[Record] = []
    remarks: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                remarks.append("The last line of metrics.jsonl breaks off and was left out.")
                continue
            raise RunDirectoryError(
                f"{file} is damaged at line {number}: {error.msg}. Got {line[:60]!r}; each line must be one "
                "JSON object. Remove that line to report the rest."
            ) from error
        _check_record(record, f"{file} line {number}")
        records.append(record)
    return records, remarks


def _check_record(record: object, place: str) -> None:
    if not isinstance(record, dict) or record.get("kind") not in KINDS:
        got = record.get("kind") if isinstance(record, dict) else type(record).__name__
        raise RunDirectoryError(f"{place}: `kind` must be one of {', '.join(KINDS)}, got {got!r}.")
    wanted = {"step": ("step", "phase"), "eval": ("phase", "when"), "budget": ("phase", "when")}.get(
        record["kind"], ()
    )
    lacking = [name for name in wanted if record.get(name) is None]
    if lacking:
        raise RunDirectoryError(f"{place}: a {record['kind']} record lacks {', '.join(lacking)}.")


def finite(record: Record, name: str) -> float | None:
    """A reading as a float; None where it is missing, null or not finite."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def truth(value: float | None) -> bool | None:
    """Whether a rollout is right; None where that is not known (no verdict, or one not paid for)."""
    return None if value is None or math.isnan(value) else value >= 1
