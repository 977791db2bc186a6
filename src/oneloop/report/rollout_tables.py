"""Packs rollouts/*.parquet for the page's rollout browser, within a budget of bytes.

Everything is embedded where it fits. Otherwise, in this order: an even sample of at least FEWEST_STEPS steps,
as many of one phase as of another, that always holds the first and the last of each; in each an even sample
of groups, never a part of a group. Of each rollout the first MOST_TOKENS tokens are kept, of an image a small
PNG file. What was left out is counted, and the page says so.
Columns that are equal for all tokens of a rollout are stored once; tokens are numbers into a list of
pieces, and a text that its pieces spell is not stored again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from oneloop.core.columns import declarations
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.report.pictures import small
from oneloop.report.run_directory import RunDirectoryError, truth
from oneloop.report.sampling import evenly

BUDGET = 12_000_000
"""Bytes of JSON the browser's data may take."""
FEWEST_STEPS = 24
MOST_TOKENS = 4096
REQUIRED = ("step", "id", "group", "prompt", "text")
KNOWN = {**declarations(Rollouts), **declarations(Actions)}
PER_TOKEN = tuple(name for name, column in KNOWN.items() if "token" in column.shown)
PER_STEP = tuple(name for name, column in KNOWN.items() if "step" in column.shown)
"""What is shown of the denoising steps of an image."""
OPTIONAL = tuple(name for name, column in KNOWN.items() if "rollout" in column.shown)
"""Numbers of a rollout that only some methods write."""

Row = Mapping[str, Any]
Span = tuple[str, int, int]


@dataclass
class Browser:
    """The browser's data: encoded steps, the pieces their tokens point to, and what was left out."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    pieces: dict[tuple[int | None, str], int] = field(default_factory=dict)
    judges: list[str] = field(default_factory=list)
    steps_recorded: int = 0

    @property
    def groups_left_out(self) -> int:
        """Groups of the embedded steps that are not in the page."""
        return sum(step["recorded"] - len(step["groups"]) for step in self.steps)

    @property
    def rollouts_cut(self) -> int:
        """Embedded rollouts of which only the first MOST_TOKENS tokens are shown."""
        rollouts = [r for step in self.steps for group in step["groups"] for r in group["rollouts"]]
        return sum(bool(r["tokens"]) and r["tokens"]["count"] > MOST_TOKENS for r in rollouts)

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
    files = sorted(directory.glob("step-*.parquet"))
    browser = Browser(steps_recorded=len(files))
    if not files:
        return browser
    packed = {file: _pack(file, browser) for file in evenly(files, 2)}
    typical = sum(_size(step) for step in packed.values()) / len(packed)
    count = min(len(files), max(FEWEST_STEPS, int(budget / max(typical, 1))))
    for file in by_phase(files, count, phases):
        step = packed.get(file) or _pack(file, browser, budget / count / max(typical, 1))
        _thin(step, budget // count)
        if step["groups"]:
            browser.steps.append(step)
    return browser


def by_phase(files: Sequence[Path], count: int, phases: Sequence[Span]) -> list[Path]:
    """About `count` of `files`, evenly within each phase; a short phase leaves its places to the others."""
    steps = {file: int(file.stem.removeprefix("step-")) for file in files}
    spans = [[file for file in files if first <= steps[file] <= last] for _, first, last in phases]
    spans = sorted((span for span in spans if span), key=len) or [list(files)]
    kept: list[Path] = []
    for place, span in enumerate(spans):
        kept += evenly(span, max(2, (count - len(kept)) // (len(spans) - place)))
    return sorted(kept)


def _thin(step: dict[str, Any], budget: int) -> None:
    """Leave an even sample of whole groups that fits `budget`, at least one."""
    size = _size(step)
    if size > budget:
        step["groups"] = evenly(step["groups"], max(1, int(len(step["groups"]) * budget / size)))


def _size(step: dict[str, Any]) -> int:
    return len(json.dumps(step))


def _read(file: Path) -> pyarrow.Table:
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise RunDirectoryError(
            f"{file} is damaged ({str(error).splitlines()[0]}). Remove it to report the other steps."
        ) from error
    lacking = [name for name in REQUIRED if name not in table.column_names]
    if lacking:
        had = ", ".join(table.column_names)
        raise RunDirectoryError(f"{file} lacks the columns {', '.join(lacking)}; it has {had}.")
    return table


def _pack(file: Path, browser: Browser, share: float = 1.0) -> dict[str, Any]:
    """One step: its groups in the order they were asked for, and the largest |advantage| for the colours.

    `share` of the groups, evenly, is enough: the rest of a large file is never turned into Python objects.
    """
    table = _read(file)
    recorded = table["group"].unique()
    kept = evenly(recorded.to_pylist(), max(1, math.ceil(share * len(recorded))))
    wanted = pyarrow.compute.is_in(table["group"], pyarrow.array(kept, recorded.type))
    rows = table.filter(wanted).to_pylist()
    groups: dict[int, dict[str, Any]] = {}
    for row in rows:
        group = groups.setdefault(
            row["group"],
            {"group": row["group"], "key": row.get("key"), "prompt": row["prompt"], "rollouts": []},
        )
        group["rollouts"].append(_pack_rollout(row, file, browser))
    advantages = [
        abs(a) for row in rows for a in row.get("advantage") or () if a is not None and math.isfinite(a)
    ]
    return {
        "step": rows[0]["step"] if rows else int(file.stem.removeprefix("step-")),
        "phase": rows[0].get("phase", "") if rows else "",
        "scale": rounded(max(advantages, default=0.0)),
        "recorded": len(recorded),
        "groups": list(groups.values()),
    }


def _pack_rollout(row: Row, file: Path, browser: Browser) -> dict[str, Any]:
    judges = [name.removeprefix("reward.") for name in row if name.startswith("reward.")]
    browser.judges += [judge for judge in judges if judge not in browser.judges]
    tokens, text = _pack_tokens(row, file, browser), row["text"] or ""
    return {
        "id": row["id"],
        "status": row.get("status") or "",
        "reward": rounded(row.get("reward")),
        "correct": truth(row.get("correct")),
        "trained": row.get("trained"),
        "verdicts": {judge: rounded(row[f"reward.{judge}"]) for judge in judges},
        "errors": {judge: words for judge in judges if (words := row.get(f"error.{judge}"))},
        "text": None if tokens and text == "".join(row["piece"]) else text,
        "tokens": tokens,
        **_pack_image(row, file),
        **{name: row[name] for name in OPTIONAL if row.get(name) is not None},
        **_pack_critique(row),
    }


def _pack_image(row: Row, file: Path) -> dict[str, Any]:
    """The picture, the numbers of its actions where rollouts share some, and what each was credited with."""
    if row.get("image") is None:
        return {}
    try:
        image = small(row["image"])
    except ValueError as error:
        raise RunDirectoryError(f"{file}, rollout {row['id']}: its image is {error}.") from error
    columns = {name: row[name] for name in PER_STEP if row.get(name) is not None}
    actions = {name: _pack_values(values) for name, values in columns.items()}
    path = {"path": row["action"]} if row.get("action") else {}
    return {"image": image, "actions": actions, **path}


def _pack_critique(row: Row) -> dict[str, Any]:
    """The steps that critics voted wrong, with their words; nothing where the rollout has no critique."""
    if row.get("critique") is None:
        return {}
    wrong = [step for step in row["critique"] if step["wrong"]]
    return {"critique": [{**step, "wrong": rounded(step["wrong"])} for step in wrong]}


def _pack_tokens(row: Row, file: Path, browser: Browser) -> dict[str, Any] | None:
    """Per-token columns, or None where the pieces of the text were not kept."""
    pieces = row.get("piece")
    if not pieces:
        return None
    count = len(pieces)
    tokens = row.get("token") or [None] * count
    columns = {name: row[name] for name in PER_TOKEN if row.get(name) is not None}
    wrong = [
        f"{name} {len(values)}"
        for name, values in {"token": tokens, **columns}.items()
        if len(values) != count
    ]
    if wrong:
        raise RunDirectoryError(
            f"{file}, rollout {row['id']}: {count} pieces but {', '.join(wrong)}; each action needs one "
            "value."
        )
    named = zip(tokens[:MOST_TOKENS], pieces[:MOST_TOKENS], strict=True)
    return {
        "count": count,
        "piece": [
            browser.pieces.setdefault((token, piece or ""), len(browser.pieces)) for token, piece in named
        ],
        **{name: _pack_values(values[:MOST_TOKENS]) for name, values in columns.items()},
    }


def _pack_values(values: Sequence[float | None]) -> float | None | list[float | None]:
    """One number where all are equal, else the list."""
    shown = [rounded(value) for value in values]
    return shown[0] if len(set(shown)) == 1 else shown


def rounded(value: float | None) -> float | None:
    """Four significant digits; None where there is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.4g}")
