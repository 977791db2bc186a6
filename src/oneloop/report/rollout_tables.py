"""Packs rollouts/*.parquet for the page's rollout browser, within a budget of bytes.

Everything is embedded where it fits. Otherwise there is less of it, in this order, until it does: an even
sample of at least FEWEST_STEPS steps, as many of one phase as of another, that always holds the first and the
last of each; in each an even sample of groups, never a part of a group; of each rollout the first tokens, at
least FEWEST_TOKENS of them; fewer steps. Of an image a small PNG file is kept. What was left out is counted,
and the page says so.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute

from oneloop.core.recorded import RecordedStep, steps
from oneloop.core.storage import Damaged
from oneloop.report.rollout_rows import Pieces, cut, pack_rollout, rounded
from oneloop.report.run_directory import RunDirectoryError
from oneloop.report.sampling import evenly

BUDGET = 12_000_000
"""Bytes of JSON the browser's data may take."""
FEWEST_STEPS = 24
MOST_TOKENS = 4096
FEWEST_TOKENS = 128
PROBED = 64
"""Rollouts of a large step that are packed to see how much room they take."""
REQUIRED = ("step", "id", "group", "prompt", "text")

Span = tuple[str, int, int]


@dataclass
class Browser:
    """The browser's data: encoded steps, the pieces their tokens point to, and what was left out."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    pieces: Pieces = field(default_factory=dict)
    judges: list[str] = field(default_factory=list)
    steps_recorded: int = 0
    most_tokens: int = MOST_TOKENS
    """Most tokens shown of a rollout."""

    @property
    def groups_left_out(self) -> int:
        """Groups of the embedded steps that are not in the page."""
        return sum(step["recorded"] - len(step["groups"]) for step in self.steps)

    @property
    def rollouts_cut(self) -> int:
        """Embedded rollouts of which only the first `most_tokens` are shown."""
        rollouts = [r for step in self.steps for group in step["groups"] for r in group["rollouts"]]
        return sum(bool(r["tokens"]) and r["tokens"]["count"] > self.most_tokens for r in rollouts)

    def to_data(self) -> dict[str, Any]:
        """The object the page's script reads."""
        return {
            "steps": self.steps,
            "pieces": [[token, piece] for token, piece in self.pieces],
            "judges": self.judges,
        }


def read_rollouts(directory: Path, budget: int = BUDGET, phases: Sequence[Span] = ()) -> Browser:
    """Pack a run's rollouts/ folder, which may be absent, into about `budget` bytes.

    `phases`: (name, first step, last step) of each.
    """
    try:
        recorded = steps(directory)
    except Damaged as error:
        raise RunDirectoryError(f"{error}. Remove it to report the other steps.") from error
    browser = Browser(steps_recorded=len(recorded))
    if not recorded:
        return browser
    probes = {one: _pack(one, browser, most=PROBED) for one in evenly(recorded, 2)}
    count, room, share = _planned(
        [step for step in probes.values() if step["groups"]], browser, len(recorded), budget
    )
    for one in by_phase(recorded, count, phases):
        step = probes.get(one)
        if step is None or len(step["groups"]) < step["recorded"]:
            step = _pack(one, browser, share)
        _thin(step, room, browser.most_tokens)
        if step["groups"]:
            browser.steps.append(step)
    _prune(browser)
    return browser


def _planned(
    probes: list[dict[str, Any]], browser: Browser, files: int, budget: int
) -> tuple[int, float, float]:
    """(steps to show, bytes for each, share of its groups that fits); sets how many tokens are shown."""
    if not probes:
        return files, math.inf, 1.0
    typical = sum(_size(step) * step["recorded"] / len(step["groups"]) for step in probes) / len(probes)
    count = min(files, max(FEWEST_STEPS, int(budget / typical)))
    largest = copy.deepcopy(max((group for step in probes for group in step["groups"]), key=_size))
    whole = size = _size(largest)
    while size > budget / count and browser.most_tokens > FEWEST_TOKENS:
        browser.most_tokens = max(FEWEST_TOKENS, browser.most_tokens * 3 // 4)
        for rollout in largest["rollouts"]:
            cut(rollout, browser.most_tokens)
        size = _size(largest)
    if size > budget / count:
        count = max(2, int(budget / size))
    return count, budget / count, budget / count / (typical * size / whole)


def by_phase(recorded: Sequence[RecordedStep], count: int, phases: Sequence[Span]) -> list[RecordedStep]:
    """About `count` of the `recorded` steps, evenly within each phase; a short phase leaves its places to
    others."""
    spans = [[step for step in recorded if first <= step.number <= last] for _, first, last in phases]
    spans = sorted((span for span in spans if span), key=len) or [list(recorded)]
    kept: list[RecordedStep] = []
    for place, span in enumerate(spans):
        kept += evenly(span, max(2, (count - len(kept)) // (len(spans) - place)))
    return sorted(kept, key=lambda step: step.number)


def _thin(step: dict[str, Any], room: float, most: int) -> None:
    """Leaves the first `most` tokens, and an even sample of whole groups that fits `room` bytes."""
    for group in step["groups"]:
        for rollout in group["rollouts"]:
            cut(rollout, most)
    size = _size(step)
    if size > room:
        step["groups"] = evenly(step["groups"], max(1, int(len(step["groups"]) * room / size)))


def _prune(browser: Browser) -> None:
    """Leaves the pieces that shown tokens point to, and the judges that are shown."""
    rollouts = [r for step in browser.steps for group in step["groups"] for r in group["rollouts"]]
    known, used = list(browser.pieces), dict[int, int]()
    for rollout in rollouts:
        if rollout["tokens"]:
            pieces = rollout["tokens"]["piece"]
            rollout["tokens"]["piece"] = [used.setdefault(piece, len(used)) for piece in pieces]
    browser.pieces = {known[piece]: place for piece, place in used.items()}
    browser.judges = list(dict.fromkeys(judge for rollout in rollouts for judge in rollout["verdicts"]))


def _size(step: dict[str, Any]) -> int:
    return len(json.dumps(step))


def _read(step: RecordedStep) -> pyarrow.Table:
    file = step.file
    try:
        table = step.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise RunDirectoryError(
            f"{file} is damaged ({str(error).splitlines()[0]}). Remove it to report the other steps."
        ) from error
    lacking = [name for name in REQUIRED if name not in table.column_names]
    if lacking:
        had = ", ".join(table.column_names)
        raise RunDirectoryError(f"{file} lacks the columns {', '.join(lacking)}; it has {had}.")
    return table


def _pack(one: RecordedStep, browser: Browser, share: float = 1.0, most: int = 0) -> dict[str, Any]:
    """One step: its groups in the order they were asked for, and the largest |advantage| for the colours.

    `share` of the groups, evenly, or about `most` rollouts, are enough: the rest of a large file is never
    turned into Python objects.
    """
    table = _read(one)
    recorded = table["group"].unique()
    share = min(1.0, most / max(len(table), 1)) if most else share
    kept = evenly(recorded.to_pylist(), max(1, math.ceil(share * len(recorded))))
    wanted = pyarrow.compute.is_in(table["group"], pyarrow.array(kept, recorded.type))
    rows = table.filter(wanted).to_pylist()
    groups: dict[int, dict[str, Any]] = {}
    for row in rows:
        group = groups.setdefault(
            row["group"],
            {"group": row["group"], "key": row.get("key"), "prompt": row["prompt"], "rollouts": []},
        )
        if row.get("shown"):
            group["shown"] = row["shown"]
        group["rollouts"].append(pack_rollout(row, one.file, browser.pieces, browser.most_tokens))
    advantages = [
        abs(a) for row in rows for a in row.get("advantage") or () if a is not None and math.isfinite(a)
    ]
    return {
        "step": one.number,
        "phase": rows[0].get("phase", "") if rows else "",
        "scale": rounded(max(advantages, default=0.0)),
        "recorded": len(recorded),
        "groups": list(groups.values()),
    }
