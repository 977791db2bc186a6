"""One recorded rollout, packed for the page's rollout browser.

Columns that are equal for all tokens of a rollout are stored once; tokens are numbers into a list of pieces,
and a text that its pieces spell is not stored again.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oneloop.core.columns import declarations
from oneloop.core.known_columns import ActionColumns, RolloutColumns
from oneloop.report.pictures import small
from oneloop.report.run_directory import RunDirectoryError, truth

KNOWN = {**declarations(RolloutColumns), **declarations(ActionColumns)}
PER_TOKEN = tuple(name for name, column in KNOWN.items() if "token" in column.shown)
PER_STEP = tuple(name for name, column in KNOWN.items() if "step" in column.shown)
"""Columns shown for the denoising steps of an image."""
OPTIONAL = tuple(name for name, column in KNOWN.items() if "rollout" in column.shown)
"""Columns of a rollout that only some methods write."""

Row = Mapping[str, Any]
Pieces = dict[tuple[int | None, str], int]
Number = float | None


def pack_rollout(row: Row, file: Path, pieces: Pieces, most: int) -> dict[str, Any]:
    """What the page shows of a rollout, at most `most` tokens of it; new ones are added to `pieces`."""
    judges = [name.removeprefix("reward.") for name in row if name.startswith("reward.")]
    tokens, text = _pack_tokens(row, file, pieces, most), row["text"] or ""
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


def cut(rollout: dict[str, Any], most: int) -> None:
    """Leaves of a packed rollout the first `most` tokens."""
    tokens = rollout["tokens"]
    for name, values in (tokens or {}).items():
        if isinstance(values, list) and len(values) > most:
            tokens[name] = values[:most]


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


def _pack_tokens(row: Row, file: Path, known: Pieces, most: int) -> dict[str, Any] | None:
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
    named = zip(tokens[:most], pieces[:most], strict=True)
    return {
        "count": count,
        "piece": [known.setdefault((token, piece or ""), len(known)) for token, piece in named],
        **{name: _pack_values(values[:most]) for name, values in columns.items()},
    }


def _pack_values(values: Sequence[Number]) -> Number | list[Number]:
    """One number where all are equal, else the list; each as `rounded` gives it."""
    array = np.array(values, dtype=np.float64)
    size = np.abs(np.where(np.isfinite(array) & (array != 0), array, 1.0))
    if size.min(initial=1.0) < 1e-12 or size.max(initial=1.0) >= 1e15:  # powers of ten are not exact there
        shown = [rounded(value) for value in values]
    else:
        places = 3 - np.floor(np.log10(size))
        power = 10.0 ** np.abs(places)
        near = np.where(places >= 0, np.rint(array * power) / power, np.rint(array / power) * power)
        kind = np.where(~np.isfinite(array), 0, np.where(array == np.rint(array), 1, 2))
        told = zip(array.tolist(), near.tolist(), kind.tolist(), strict=True)
        shown = [about if kind == 2 else int(value) if kind else None for value, about, kind in told]
    return shown[0] if len(set(shown)) == 1 else shown


def rounded(value: Number) -> Number:
    """Four significant digits; None where there is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.4g}")
