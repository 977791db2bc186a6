"""Pictures of data rows on their way to a reward function in another process: files, each sent once.

A function is given them as TRL gives them, as Pillow pictures. Only the function's process opens them.
"""

import io
from collections.abc import Sequence
from typing import Any

PLACE = "\0picture"
"""Key of the mapping that stands for a picture: the number of its file."""
OF_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
"""Modes that a PNG file holds as they are."""


class PictureFiles:
    """The files of the pictures of a call's rows. A picture that several rows show is one file."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self._known: dict[int, tuple[Any, int]] = {}

    def packed(self, value: Any) -> Any:
        """`value` with a place in `files` for each Pillow picture, also inside lists, tuples and mappings."""
        if is_picture(value):
            if id(value) not in self._known:
                self._known[id(value)] = value, len(self.files)  # held, so that its id stays its own
                self.files.append(_file(value))
            return {PLACE: self._known[id(value)][1]}
        if isinstance(value, list | tuple):
            return type(value)([self.packed(item) for item in value])
        if isinstance(value, dict):
            return {key: self.packed(item) for key, item in value.items()}
        return value


def restored(value: Any, files: Sequence[bytes]) -> Any:
    """`value` with the picture in the place of each of its `files`."""
    if not files:
        return value
    if isinstance(value, list | tuple):
        return type(value)([restored(item, files) for item in value])
    if not isinstance(value, dict):
        return value
    if value.keys() == {PLACE}:
        from PIL import Image

        picture = Image.open(io.BytesIO(files[value[PLACE]]), formats=("PNG", "TIFF"))
        picture.load()
        return picture
    return {key: restored(item, files) for key, item in value.items()}


def is_picture(value: Any) -> bool:
    """Whether `value` is a picture of Pillow, which is not imported for this."""
    return hasattr(value, "getbands") and hasattr(value, "convert")


def _file(picture: Any) -> bytes:
    file = io.BytesIO()
    try:
        picture.save(file, "PNG" if picture.mode in OF_PNG else "TIFF", compress_level=1)
    except (OSError, KeyError):  # a mode that neither holds
        file = io.BytesIO()
        picture.convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()
