"""Pictures of a data row as Pillow pictures in RGB, whatever the row holds them in.

    path        a file on this machine; relative paths begin at the working directory
    bytes       a file's content, also as {bytes, path} (Hugging Face `Image`) or a data: URL
    Pillow      any mode; arrays as `oneloop.core.pictures` takes them

Nothing is fetched from the network.
"""

import base64
import binascii
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oneloop.core.extras import MissingExtra
from oneloop.core.pictures import picture

Image = Any  # a Pillow picture


def opened(image: Any, where: str) -> Image:
    """`image` as a Pillow picture in RGB. Raises ValueError, naming `where`, for what cannot be read."""
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise MissingExtra("policy.vision_language", "pillow", "images") from error
    content = _content(image, where)
    if isinstance(content, Path | bytes):
        file: Any = io.BytesIO(content) if isinstance(content, bytes) else content
        try:
            with warnings.catch_warnings():  # a picture too large to be honest is an error, not a remark
                warnings.simplefilter("error", pillow.DecompressionBombWarning)
                content = pillow.open(file)
                content.load()
        except (OSError, ValueError, SyntaxError, Warning, pillow.DecompressionBombError) as error:
            name = f"'{file}'" if isinstance(file, Path) else "its bytes"
            raise ValueError(f"{where}: the picture cannot be read from {name}: {error}") from None
    pixels = (picture(content, where).transpose(1, 2, 0) * 255).round().astype(np.uint8)
    if pixels.shape[2] not in (1, 3):
        raise ValueError(f"{where}: a picture has 1 or 3 channels, got {pixels.shape[2]}")
    return pillow.fromarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)


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
    if isinstance(image, str | Path):
        path = Path(str(image).removeprefix("file://"))
        if not path.is_file():
            raise ValueError(
                f"{where}: there is no picture '{path}' (relative paths begin at the working directory)"
            )
        return path
    if image is None:
        raise ValueError(f"{where}: a picture is missing (None)")
    return image


def _of_data_url(url: str, where: str) -> bytes:
    head, _, body = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("only base64 is read")
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{where}: a data: URL is no picture ({error}): {url!r:.60}") from None
