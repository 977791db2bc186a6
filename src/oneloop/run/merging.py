"""Merges the Parquet files of a run's steps, a hundred steps to a file, so that a long run leaves few files.

A kill at any instant loses no rollout and doubles none: a merged file appears whole, then the files it was
made of are deleted, and readers (oneloop.core.recorded) count a step once where both are still there.
Merged is only what no resume can make again: steps up to the oldest checkpoint that is kept.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from oneloop.core.recorded import MANY, ONE, RecordedStep, merged, numbers
from oneloop.core.storage import Damaged, numbered, set_aside, write_file
from oneloop.run import checksums

TOGETHER = 100
"""Steps of a merged file: 1 to 100, 101 to 200, and so on."""


def merge(folder: Path, last: int) -> None:
    """Merges the step files in `folder` of every whole hundred of steps up to `last`.

    A new file begins where the columns change, with a phase say. What cannot be read, or written because the
    disk is full, stays as it is until the next time.
    """
    clear(folder)
    whole = last // TOGETHER * TOGETHER
    alone = [RecordedStep(number, path) for number, path in numbered(folder, ONE).items() if number <= whole]
    for piece, schema in _alike(alone):
        with contextlib.suppress(pa.ArrowException, OSError):
            _write(folder / MANY.format(piece[0].number, piece[-1].number), piece, schema)
            clear(folder)


def clear(folder: Path) -> None:
    """Deletes the files of steps that a merged file holds too, which a kill left behind."""
    held = {number for path in merged(folder) for number in _held(path)}
    twice = [path for number, path in numbered(folder, ONE).items() if number in held]
    for path in twice:
        path.unlink()
    if twice:
        checksums.forget_deleted(folder)


def cut(folder: Path, last: int) -> None:
    """Takes the steps after `last` out of merged files: a run that goes on from there records them again.

    A file that would have to be cut and cannot be read is set aside under another name.
    """
    clear(folder)
    for path, span in merged(folder).items():
        if span[-1] <= last:
            continue
        left = [RecordedStep(number, path, part) for part, number in enumerate(_held(path)) if number <= last]
        if span[0] <= last and not left:
            set_aside(path)
            continue
        if left:
            _write(folder / MANY.format(left[0].number, left[-1].number), left, left[0].schema())
        path.unlink()
        checksums.forget_deleted(folder)


def _held(path: Path) -> list[int]:
    """The steps of a merged file; [] for a damaged one."""
    try:
        return numbers(path)
    except Damaged:
        return []


def _alike(alone: Sequence[RecordedStep]) -> Iterator[tuple[list[RecordedStep], pa.Schema]]:
    """(two or more steps of one hundred that follow one another and have the same columns, their schema)."""
    piece: list[RecordedStep] = []
    known: pa.Schema | None = None
    for step in alone:
        schema = _schema(step)
        near = bool(piece) and (piece[-1].number - 1) // TOGETHER == (step.number - 1) // TOGETHER
        if (both := _unified(known, schema) if near else None) is not None:
            piece, known = [*piece, step], both
            continue
        if len(piece) > 1 and known is not None:
            yield piece, known
        piece, known = ([step], schema) if schema is not None else ([], None)
    if len(piece) > 1 and known is not None:
        yield piece, known


def _schema(step: RecordedStep) -> pa.Schema | None:
    """The columns of a step; None for a file that cannot be read."""
    try:
        return step.schema()
    except (pa.ArrowException, OSError):
        return None


def _unified(one: pa.Schema | None, other: pa.Schema | None) -> pa.Schema | None:
    """One schema for both, where they differ in nothing but columns that hold no value in one of them."""
    if one is None or other is None or one.names != other.names:
        return None
    try:
        return pa.unify_schemas([one, other], promote_options="default")
    except pa.ArrowException:
        return None


def _write(path: Path, piece: Sequence[RecordedStep], schema: pa.Schema) -> None:
    """Writes the steps `piece` to `path`, each a row group; the file is there whole or not at all."""

    def written(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
            for step in piece:
                table = step.read().cast(schema)
                writer.write_table(table, row_group_size=max(len(table), 1))
        checksums.note(path, checksums.sha256(temporary))

    write_file(path, written)
