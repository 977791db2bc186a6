"""Images in a report: small PNG files as text, and the pictures that a run drew of the same prompts.

A picture is shrunk to at most MOST_PIXELS a side; smaller ones stay what they are, to the byte. A gallery has
at most MOST_ROWS prompts and MOST_TIMES moments, the first and the last among them.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from oneloop.core.storage import numbered
from oneloop.report.run_directory import RunDirectoryError, truth
from oneloop.report.sampling import evenly

MOST_PIXELS = 96
MOST_ROWS, MOST_TIMES = 8, 14
PNG = "data:image/png;base64,"
HEADER = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """One picture of one prompt."""

    source: str
    """A data URI."""
    reward: float | None
    correct: bool | None


@dataclass(frozen=True)
class PictureTable:
    """Prompts down, moments across."""

    moments: list[tuple[str, int]]
    """(phase, step) of each column."""
    rows: list[tuple[str, list[Picture | None]]]
    """Each prompt with its pictures."""

    @property
    def phases(self) -> list[tuple[str, int]]:
        """(phase, columns) in order."""
        spans: dict[str, int] = {}
        for phase, _ in self.moments:
            spans[phase] = spans.get(phase, 0) + 1
        return list(spans.items())

    @property
    def judged(self) -> bool:
        """Whether a judge said of some picture that it is right or wrong."""
        return any(
            picture and picture.correct is not None for _, pictures in self.rows for picture in pictures
        )

    @property
    def means(self) -> list[float | None]:
        """The mean score of each column; None where nothing was judged."""
        columns = zip(*(pictures for _, pictures in self.rows), strict=True)
        scores = [[p.reward for p in column if p and p.reward is not None] for column in columns]
        return [sum(column) / len(column) if column else None for column in scores]


def small(png: bytes) -> str:
    """The base64 text of a PNG file, shrunk where a side is longer than MOST_PIXELS.

    Raises ValueError for other files.
    """
    if not png.startswith(HEADER):
        raise ValueError(f"not a PNG file: begins with {png[:8]!r}")
    sides = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    if max(sides) > MOST_PIXELS:
        from PIL import Image

        image = Image.open(io.BytesIO(png))
        image.thumbnail((MOST_PIXELS, MOST_PIXELS))
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        png = file.getvalue()
    return base64.b64encode(png).decode()


def read_gallery(directory: Path) -> PictureTable | None:
    """The pictures in `directory`; None where there are none. Raises RunDirectoryError for a damaged file."""
    files = evenly(list(numbered(directory, "step-{:06d}.parquet").values()), MOST_TIMES)
    moments: list[tuple[str, int]] = []
    rows: dict[int, tuple[str, list[Picture | None]]] = {}
    for place, file in enumerate(files):
        shown = _read(file)
        moments.append((shown[0]["phase"] if shown else "", int(file.stem.removeprefix("step-"))))
        for row in shown[:MOST_ROWS]:
            prompt, pictures = rows.setdefault(row["id"], (row["prompt"], [None] * len(files)))
            reward = row.get("reward")
            score = reward if reward == reward else None
            pictures[place] = Picture(PNG + small(row["image"]), score, truth(row.get("correct")))
    return PictureTable(moments, list(rows.values())) if rows else None


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise RunDirectoryError(
            f"{file} is damaged ({str(error).splitlines()[0]}). Remove it to report the other steps."
        ) from error
    return rows
