"""Files that a run writes: metrics.jsonl, and Parquet files of rollouts, one a step."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from oneloop.core.columns import FAMILIES, declarations, recorded
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.storage import Damaged, replace_file
from oneloop.core.text import unicode
from oneloop.run import checksums
from oneloop.run.logged import logged_columns, with_all_columns


class Metrics:
    """An append-only `metrics.jsonl`.

    Without `writes` lines are counted, and written by another process.
    """

    def __init__(self, path: Path, writes: bool = True):
        self.path, self.writes, self.lines = path, writes, 0
        self.hooks: list[Callable[[dict[str, Any]], None]] = []
        self._sum = hashlib.sha256()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint remembers of the file: its number of lines and their checksum."""
        return {"lines": self.lines, "lines_sha256": self._sum.hexdigest()}

    def sound(self, lines: int, lines_sha256: str, **_: Any) -> bool:
        """Whether the first `lines` lines are what `state_dict` was taken of. Raises Damaged for fewer."""
        return hashlib.sha256(self._first(lines)).hexdigest() == lines_sha256

    def truncate(self, lines: int) -> None:
        """Forgets everything after the first `lines` lines: a resumed run writes them again.

        Raises Damaged when there are fewer.
        """
        if not self.writes:
            self.lines = lines
            return
        kept = self._first(lines)
        with self.path.open("ab") as file:
            file.truncate(len(kept))
        self.lines, self._sum = lines, hashlib.sha256(kept)

    def _first(self, lines: int) -> bytes:
        kept = self.path.read_bytes().splitlines(keepends=True)[:lines] if self.path.exists() else []
        if len(kept) < lines:
            raise Damaged(f"{self.path} has {len(kept)} lines, but the checkpoint was saved after {lines}")
        return b"".join(kept)

    def write(self, **values: Any) -> None:
        """Writes one line and passes its values to every hook (a tracker, say)."""
        self.lines += 1
        if not self.writes:
            return
        line = (json.dumps(unicode(values)) + "\n").encode()
        with self.path.open("ab") as file:
            file.write(line)
        self._sum.update(line)
        for hook in self.hooks:
            hook(values)


def write_rollouts(
    path: Path,
    pieces: Sequence[tuple[Rollouts, bool]],
    step: int,
    phase: str,
    decode: Callable[[list[int]], str],
) -> None:
    """All judged rollouts of a step in one Parquet file, each piece with whether it was trained on."""
    rows: list[dict[str, Any]] = []
    for rollouts, trained in pieces:
        rows += rollout_rows(rollouts, step, phase, trained, decode)
    if not rows:
        return
    write_parquet(path, with_all_columns(rows))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes `rows` and notes the checksum; the file is there whole or not at all."""
    try:
        table = pa.Table.from_pylist(rows)
    except UnicodeEncodeError:
        table = pa.Table.from_pylist(unicode(rows))
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    checksums.note(path, hashlib.sha256(file.getvalue()).hexdigest())
    replace_file(path, file.getvalue())


def write_held_out(path: Path, judged: Rollouts) -> None:
    """One row a held-out rollout: its data row, prompt, text and verdicts."""
    texts = judged.text if "text" in judged else [""] * len(judged)
    rows = [
        {"key": key, "prompt": prompt_text(context), "text": text, "reward": reward}
        for key, context, text, reward in zip(
            judged.key.tolist(), judged.context, texts, judged.reward.tolist(), strict=True
        )
    ]
    if "correct" in judged:
        rows = [row | {"correct": value} for row, value in zip(rows, judged.correct.tolist(), strict=True)]
    write_parquet(path, rows)


def rollout_rows(
    rollouts: Rollouts, step: int, phase: str, trained: bool, decode: Callable[[list[int]], str]
) -> list[dict[str, Any]]:
    """One dict per rollout, action columns as lists along its path."""
    if len(rollouts) == 0:
        return []
    columns: dict[str, list[Any]] = {}
    for name in recorded(declarations(Rollouts), iter(rollouts), FAMILIES):
        column = rollouts[name]
        columns[name] = column if isinstance(column, list) else column.tolist()
    columns |= logged_columns(rollouts)
    columns["prompt"] = [prompt_text(context) for context in rollouts.context]
    if "output" in rollouts:  # an image is what was written; its latents stay out of the record
        columns["text"] = [""] * len(rollouts)
        columns["image"] = [png(image) for image in rollouts.output]
    if "reference_output" in rollouts:
        columns |= compared(rollouts)
    _, action = rollouts.paths
    cuts = np.cumsum(rollouts.length.numpy())[:-1]
    if "tree" in rollouts:  # equal numbers are one action that rollouts share
        columns["action"] = [piece.tolist() for piece in np.split(action.numpy(), cuts)]
    for name in recorded(declarations(Actions), iter(rollouts.actions)):
        columns[name] = [piece.tolist() for piece in np.split(rollouts.actions[name][action].numpy(), cuts)]
    if "token" in columns:
        pieces = {token: decode([token]) for tokens in columns["token"] for token in tokens}
        columns["piece"] = [[pieces[token] for token in tokens] for tokens in columns["token"]]
    head = {"step": step, "phase": phase, "trained": trained}
    return [head | dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def compared(rollouts: Rollouts) -> dict[str, list[Any]]:
    """What the report lays side by side: the reference's image and, of edits, the task, source and mask."""
    shown: dict[str, list[Any]] = {"reference_image": [png(image) for image in rollouts["reference_output"]]}
    shown["task"] = [row.get("task") for row in rollouts.example]
    for name in ("source", "mask"):
        if all(name in row for row in rollouts.example):
            shown[f"{name}_image"] = [png(torch.as_tensor(row[name])) for row in rollouts.example]
    return shown


def png(image: Tensor) -> bytes:
    """An image [C, H, W] in [0, 1] as a PNG file."""
    from PIL import Image

    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def prompt_text(context: tuple[tuple[int, Any], ...]) -> str:
    """The prompt as readable text."""
    prompt = context[0][1]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return "\n".join(f"{turn.get('role')}: {content_text(turn.get('content'))}" for turn in prompt)
    return str(prompt)


def content_text(content: Any) -> str:
    """What a message says; a picture among its parts is written <image>."""
    if not isinstance(content, list):
        return str(content)
    texts = [part.get("text") if isinstance(part, Mapping) else str(part) for part in content]
    return "".join("<image>" if text is None else text for text in texts)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a last line that a kill cut off is left out.

    Raises Damaged naming the first line that is no JSON object.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(dict(json.loads(line).items()))
        except (ValueError, AttributeError):
            raise Damaged(f"{path} is damaged at line {number}: no JSON object, {line[:60]!r}") from None
    return found
