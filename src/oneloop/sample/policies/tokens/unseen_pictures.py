"""Pictures of data rows that a policy does not look at: said before the run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COLUMNS = ("image", "images")
Row = Mapping[str, Any]


def unseen(rows: Sequence[Row], reads: bool) -> Iterator[str]:
    """Sentences on pictures of `rows` that a policy does not show its model; reads: whether it shows any."""
    filled = [[name for name in COLUMNS if _is_filled(row.get(name))] for row in rows]
    if not reads:
        if named := next(filter(None, filled), []):
            yield (
                f"{sum(map(bool, filled))} of {len(rows)} rows looked at have pictures (column "
                f"'{named[0]}'), which a language policy does not read; policy.vision_language does"
            )
    elif rows and not any(filled) and not any(map(_shows, rows)):
        yield (
            "no row looked at shows a picture; pictures are in the column 'image' or 'images', or parts of a "
            f"message, and the columns are {', '.join(rows[0])}"
        )


def _is_filled(pictures: Any) -> bool:
    return pictures is not None and not (isinstance(pictures, str | list | tuple) and not pictures)


def _shows(row: Row) -> bool:
    """Whether a message of the prompt has a part that is no text."""
    turns = row["prompt"] if isinstance(row["prompt"], list) else []
    parts = [turn.get("content") for turn in turns if isinstance(turn, Mapping)]
    return any(isinstance(part, list) and not all(map(_is_text, part)) for part in parts)


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type", "text") == "text"
