"""Pictures of a data row as Pillow pictures in RGB, whatever the row holds them in.

    path        a file on this machine; relative paths begin at the working directory, of a data file also
                at its folder (`oneloop.sample.data.beside`)
    bytes       a file's content, also as {bytes, path} (Hugging Face `Image`) or a data: URL
    Pillow      any mode; arrays as `oneloop.core.pictures` takes them

Nothing is fetched from the network.
"""

import base64
import binascii
import io
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from oneloop.core import shell
from oneloop.core.extras import MissingExtra
from oneloop.core.pictures import picture
from oneloop.core.pointers import is_pointer

FRAMES = "frames"
"""What a picture's `info` calls how many frames or pages its file has, of which it is the first."""
LONG = 100
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
Image = Any  # a Pillow picture


def opened(image: Any, where: str) -> Image:
    """`image` as a Pillow picture in RGB. Raises ValueError, naming `where`, for what cannot be read."""
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise MissingExtra("policy.vision_language", "pillow", "images") from error
    content, frames = _content(image, where), _frames(image)
    if isinstance(content, Path | bytes):
        file: Any = io.BytesIO(content) if isinstance(content, bytes) else content
        try:
            with warnings.catch_warnings():  # a picture too large to be honest is an error, not a remark
                warnings.simplefilter("error", pillow.DecompressionBombWarning)
                with pillow.open(file) as held:
                    frames = _frames(held)
                    content = held.copy()  # which outlives the file
        except (OSError, ValueError, SyntaxError, Warning, pillow.DecompressionBombError) as error:
            name = f"'{file}'" if isinstance(file, Path) else "its bytes"
            raise ValueError(
                f"{where}: the picture cannot be read from {name}: {_said(error, file)}"
            ) from None
    pixels = (picture(content, where).transpose(1, 2, 0) * 255).round().astype(np.uint8)
    if pixels.shape[2] not in (1, 3):
        raise ValueError(f"{where}: a picture has 1 or 3 channels, got {pixels.shape[2]}")
    made = pillow.fromarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)
    made.info[FRAMES] = frames
    return made


def _said(error: Exception, file: Any) -> str:
    """Why the picture in `file` cannot be read."""
    if isinstance(file, Path) and is_pointer(file):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the picture itself"
    if isinstance(file, Path) and not file.stat().st_size:
        return "it is empty"
    return (
        str(error) if "cannot identify image file" not in str(error) else "it is no picture that Pillow knows"
    )


def _frames(image: Any) -> int:
    """How many pictures a file holds; cameras keep previews beside the one picture of an MPO."""
    return 1 if getattr(image, "format", None) == "MPO" else int(getattr(image, "n_frames", 1))


def _content(image: Any, where: str) -> Any:
    """A path, the bytes of a file, or a picture in memory."""
    if isinstance(image, Mapping):
        if image.get("bytes") is not None:
            return bytes(image["bytes"])
        image = image.get("path") or image.get("url")
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, str) and image.startswith("data:"):
        return _of_data_url(image, where)
    if isinstance(image, str) and "://" in image and not image.startswith("file://"):
        raise ValueError(f"{where}: {image!r:.80} is not on this machine; download the picture first")
    if isinstance(image, str | Path) and str(image):
        return _file(str(image), where)
    if image is None or (isinstance(image, str) and not image):
        raise ValueError(f"{where}: a picture is missing ({image!r})")
    return image


def _file(name: str, where: str) -> Path:
    path = name.removeprefix("file://")
    for there in (path, unquote(path)) if path != name else (path,):
        if os.path.isfile(there):
            return Path(there)
    if len(name) > LONG and BASE64.fullmatch(name):
        raise ValueError(
            f"{where}: {name[:20]}... ({len(name)} characters) is no path; if it is a picture in base64, "
            "write data:image/png;base64, in front of it"
        )
    told = "relative paths begin at the working directory, or at the folder of the data file"
    told = shell.hint(name).removeprefix("; ") or told
    raise ValueError(f"{where}: there is no picture '{path:.200}' ({told})")


def _of_data_url(url: str, where: str) -> bytes:
    head, _, body = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("only base64 is read")
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{where}: a data: URL is no picture ({error}): {url!r:.60}") from None
