"""Where the recorded rollouts of a run are: a Parquet file a step, or one for many steps.

    rollouts/step-000312.parquet             one step
    rollouts/steps-000001-000100.parquet     many, each a row group of its own, in order

Whoever reads rollouts step by step asks here, and never holds more than a step in memory. A step that is in
both kinds of file (a run was killed while it merged them) counts once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from oneloop.core.storage import Damaged, numbered

ONE = "step-{:06d}.parquet"
MANY = "steps-{:06d}-{:06d}.parquet"
_MANY = re.compile(r"steps-(\d{6,})-(\d{6,})\.parquet")


@dataclass(frozen=True)
class RecordedStep:
    """The recorded rollouts of one step."""

    number: int
    """The step, counted from 1 over all phases."""
    file: Path
    """The file they are in."""
    row_group: int | None = None
    """Which row group of the file they are; None: all of it."""

    def schema(self) -> pyarrow.Schema:
        """Names and types of the columns. Raises ArrowException or OSError for a damaged file."""
        return pyarrow.parquet.read_schema(self.file)

    def read(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """The rollouts, or some of their columns. Raises ArrowException or OSError for a damaged file."""
        wanted = list(columns) if columns is not None else None
        with pyarrow.parquet.ParquetFile(self.file, page_checksum_verification=True) as file:
            return (
                file.read(wanted) if self.row_group is None else file.read_row_group(self.row_group, wanted)
            )


def steps(folder: Path) -> list[RecordedStep]:
    """All recorded steps in `folder`, in order; [] where there is none. Raises Damaged naming a file of many
    steps that cannot be read."""
    found: dict[int, RecordedStep] = {}
    for path in merged(folder):
        found |= {number: RecordedStep(number, path, part) for part, number in enumerate(numbers(path))}
    found |= {
        number: RecordedStep(number, path)
        for number, path in numbered(folder, ONE).items()
        if number not in found
    }
    return [found[number] for number in sorted(found)]


def files(folder: Path) -> list[Path]:
    """The files that hold every recorded step of `folder` once."""
    spans = list(merged(folder).values())
    alone = numbered(folder, ONE).items()
    return [*merged(folder), *(path for number, path in alone if not any(number in span for span in spans))]


def merged(folder: Path) -> dict[Path, range]:
    """{file of many steps: the range of their numbers}, in order."""
    matches = [(path, _MANY.fullmatch(path.name)) for path in (folder.iterdir() if folder.is_dir() else ())]
    spans = [(int(match[1]), int(match[2]), path) for path, match in matches if match]
    return {path: range(first, last + 1) for first, last, path in sorted(spans)}


def numbers(path: Path) -> list[int]:
    """The step of each row group of a file of many steps. Raises Damaged when they cannot be told."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            column = file.schema_arrow.names.index("step")
            about = file.metadata
            parts = [about.row_group(part).column(column).statistics for part in range(about.num_row_groups)]
            return [int(part.min) for part in parts]
    except (pyarrow.ArrowException, OSError, ValueError, AttributeError, TypeError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Damaged(f"{path} is damaged ({words})") from error
