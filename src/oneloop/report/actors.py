"""The report of a run that samples ahead: which stage worked how much, and for which the update waited."""

from collections.abc import Sequence
from dataclasses import dataclass

from oneloop.report.run_directory import Record, RunDirectory, finite

BUSY, WAITS = "runtime/busy/", "runtime/waits/"


@dataclass(frozen=True)
class StageShare:
    """One stage in one phase; shares are of the time of its steps."""

    phase: str
    stage: str
    busy: float
    waited_for: float | None
    """Share in which the update waited for it; None for the update itself."""


@dataclass(frozen=True)
class Pace:
    """Seconds a step took and should have taken, medians over a phase."""

    phase: str
    seconds: float
    formula: float
    """Seconds by the formula of a ring of stages, see `oneloop.parallel.runtime.period.ring_period`."""
    out: float
    """Asks under way."""


def stages(run: RunDirectory) -> list[StageShare]:
    """Every stage of each phase that samples ahead, means weighted by the length of steps."""
    found = []
    for phase, rows in _phases(run).items():
        names = [name.removeprefix(BUSY) for name in rows[-1] if name.startswith(BUSY)]
        for stage in names:
            waited = _share(rows, f"{WAITS}{stage}") if f"{WAITS}{stage}" in rows[-1] else None
            found.append(StageShare(phase, stage, _share(rows, f"{BUSY}{stage}"), waited))
    return found


def paces(run: RunDirectory) -> list[Pace]:
    """Measured and predicted seconds of a step, of each phase that samples ahead."""
    columns = ("step_time", "runtime/period", "runtime/out")
    return [
        Pace(phase, *(_median([finite(row, name) or 0.0 for row in rows]) for name in columns))
        for phase, rows in _phases(run).items()
    ]


def _phases(run: RunDirectory) -> dict[str, list[Record]]:
    rows: dict[str, list[Record]] = {}
    for row in run.steps:
        if finite(row, "runtime/period") is not None and finite(row, "step_time"):
            rows.setdefault(str(row["phase"]), []).append(row)
    return rows


def _share(rows: Sequence[Record], name: str) -> float:
    seconds = [finite(row, "step_time") or 0.0 for row in rows]
    return sum((finite(row, name) or 0.0) * s for row, s in zip(rows, seconds, strict=True)) / sum(seconds)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
