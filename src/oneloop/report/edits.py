"""For runs that compare with a reference: win-rates by task and criterion, and edits beside the reference's.

Of the first and the last step that recorded images, a few rollouts of each task: the source, what of it was
to be made anew, what the reference made of it, and what the policy did. Everything is embedded as PNG.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow

from oneloop.core.recorded import RecordedStep, steps
from oneloop.report.run_directory import Record, RunDirectory, finite

EACH = 4
"""Edits shown of each task of a step."""
WINDOW = 10
"""Steps at either end over which win-rates are averaged."""
NAME = re.compile(r"win_rate/(?P<judge>[^/]+)/(?P<task>.+)/(?P<criterion>[^/]+)")
PICTURES = ("source", "mask", "reference", "image")


@dataclass(frozen=True)
class EditWinRate:
    """Win-rate by one judge and one criterion of a task, at the start of its phase and at the end."""

    phase: str
    task: str
    criterion: str
    judge: str
    start: float
    end: float


@dataclass(frozen=True)
class Edit:
    """One rollout in pictures, each a data address or None."""

    prompt: str
    pictures: dict[str, str | None]
    verdicts: list[tuple[str, float]]


@dataclass(frozen=True)
class Shown:
    """Edits of one task at one step."""

    step: int
    task: str
    edits: list[Edit]


def win_rates(run: RunDirectory) -> list[EditWinRate]:
    """Sorted by phase, task, criterion, judge; [] for a run without judges that compare."""
    found = []
    for phase in dict.fromkeys(row["phase"] for row in run.steps):
        rows = [row for row in run.steps if row["phase"] == phase]
        names = {match.group(0): match for row in rows for name in row if (match := NAME.fullmatch(name))}
        for name, match in names.items():
            values = list(_values(rows, name))
            width = max(1, min(WINDOW, len(values) // 2))
            ends = [sum(part) / len(part) for part in (values[:width], values[-width:]) if part]
            if ends:
                found.append(
                    EditWinRate(phase, match["task"], match["criterion"], match["judge"], ends[0], ends[-1])
                )
    return sorted(found, key=lambda each: (each.phase, each.task, each.criterion, each.judge))


def _values(rows: Sequence[Record], name: str) -> Iterator[float]:
    for row in rows:
        if (value := finite(row, name)) is not None:
            yield value


def edits(directory: Path) -> list[Shown]:
    """Edits of the first and the last recorded step that has images of a reference; [] without any."""
    compared = [step for step in steps(directory) if _compares(step)]
    chosen = list(dict.fromkeys([*compared[:1], *compared[-1:]]))
    return [shown for step in chosen for shown in _shown(step.read().to_pylist())]


def _compares(step: RecordedStep) -> bool:
    try:
        names = step.schema().names
    except (OSError, pyarrow.ArrowException):  # a damaged file is reported with the rollouts
        return False
    return {"image", "reference_image"} <= set(names)


def _shown(rows: Sequence[Record]) -> Iterator[Shown]:
    for task in sorted({str(row.get("task") or "all") for row in rows}):
        mine = [row for row in rows if str(row.get("task") or "all") == task]
        yield Shown(rows[0]["step"], task, [_edit(row) for row in mine[:EACH]])


def _edit(row: Record) -> Edit:
    said = [
        (name.split(".", 1)[1].replace(".", ", "), value)
        for name, value in row.items()
        if name.startswith(("yes.", "won.")) and value is not None and value == value
    ]
    keys = {name: name if name == "image" else f"{name}_image" for name in PICTURES}
    return Edit(row["prompt"], {name: _address(row.get(key)) for name, key in keys.items()}, said)


def _address(png: Any) -> str | None:
    return None if png is None else "data:image/png;base64," + base64.b64encode(png).decode()
