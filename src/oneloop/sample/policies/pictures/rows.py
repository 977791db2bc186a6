"""Which pictures a data row shows, and where in its prompt they stand.

    TRL      columns `image` (one, or several) or `images` (a list); messages, also of parts {type: image}
    verl     column `images`; "<image>" in a message's text stands for the next of them
    parts    {type: image, image | path | url | bytes: ...} and {type: image_url, image_url: {url: ...}}

A prompt that marks no place shows its pictures before the first user message, or before the text. Pictures
are read in the order in which the prompt has their places; one too many or too few is refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MARK = "<image>"
HELD = ("image", "path", "url", "bytes", "image_url")
"""Keys under which a part holds its own picture."""
FILES = (str, Mapping, bytes)
"""What a picture is in a file of data; a list of them is several pictures, one of numbers is one."""
Row = Mapping[str, Any]
Messages = list[dict[str, Any]]


def column_pictures(row: Row) -> list[Any]:
    """Pictures of the columns `images` and `image`. Raises ValueError where both are given, or no list."""
    one, several = row.get("image"), row.get("images")
    if one is not None and several is not None:
        raise ValueError("has both columns 'image' and 'images'; leave out one")
    if isinstance(one, list | tuple) and one and all(isinstance(each, FILES) for each in one):
        return list(one)
    if several is not None and not isinstance(several, Sequence) or isinstance(several, str | bytes):
        raise ValueError(f"column 'images' must be a list of pictures, got {type(several).__name__}")
    return list(several) if several is not None else [] if one is None else [one]


def marked_text(prompt: str, mark: str, row: Row) -> tuple[list[str], list[Any]]:
    """(`prompt` cut at the places of its pictures, the pictures), for a model that writes a place `mark`."""
    pictures = column_pictures(row)
    pieces = re.split(f"{re.escape(MARK)}|{re.escape(mark)}", prompt)
    if len(pieces) == 1 and pictures:
        pieces = [*[""] * len(pictures), prompt]
    return pieces, _counted(pictures, len(pieces) - 1)


def marked_messages(prompt: Messages, row: Row) -> tuple[Messages, list[Any]]:
    """(messages whose contents are lists of parts of type text and image, their pictures in order)."""
    pictures = column_pictures(row)
    turns = [{**turn, "content": _parts(turn.get("content"), bool(pictures))} for turn in prompt]
    places = [part for turn in turns for part in turn["content"] or () if part["type"] == "image"]
    if pictures and not places:
        first = next((turn for turn in turns if turn.get("role") == "user"), turns[0])
        places = [{"type": "image"} for _ in pictures]
        first["content"] = [*places, *(first["content"] or [])]
    waiting = _counted(pictures, sum("held" not in place for place in places))
    shown = [place.pop("held") if "held" in place else waiting.pop(0) for place in places]
    return turns, shown


def _counted(pictures: list[Any], places: int) -> list[Any]:
    if len(pictures) != places:
        raise ValueError(
            f"the prompt has {places} places for pictures, but the row has {len(pictures)} (columns 'image', "
            "'images')"
        )
    return list(pictures)


def _parts(content: Any, split: bool) -> list[dict[str, Any]] | None:
    """The parts of one message; text is cut at `MARK` where `split`."""
    if content is None:
        return None
    if isinstance(content, str):
        pieces = content.split(MARK) if split else [content]
        return [part for place, piece in enumerate(pieces) for part in _piece(place, piece)]
    if not isinstance(content, list):
        raise ValueError(f"the content of a message is text or a list of parts, got {content!r:.80}")
    return [_part(part) for part in content]


def _piece(place: int, text: str) -> list[dict[str, Any]]:
    before = [{"type": "image"}] if place else []
    return [*before, *([{"type": "text", "text": text}] if text else [])]


def _part(part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        raise ValueError(f"a part of a message is a mapping with a type, got {part!r:.80}")
    kind = str(part.get("type", "text" if "text" in part else "image"))
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind in ("image", "image_url"):
        held = next((part[key] for key in HELD if part.get(key) is not None), None)
        inner = held.get("url") if isinstance(held, Mapping) and kind == "image_url" else held
        return {"type": "image"} if inner is None else {"type": "image", "held": inner}
    raise ValueError(f"a part of a message is text or an image, got {part!r:.120}")
