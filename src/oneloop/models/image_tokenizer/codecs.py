"""What ordinary image files take: JPEG, WebP and JPEG 2000 by Pillow, container and payload apart.

At tens of pixels a file is mostly container. The bytes of a blank image of the same size stand for it, so
payload = file - blank; shrinking the picture before it is encoded is the baseline beside each.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oneloop.core.pictures import picture
from oneloop.models.image_tokenizer.quality import psnr

QUALITIES: dict[str, tuple[dict[str, Any], ...]] = {
    "jpeg": tuple({"quality": quality, "optimize": True} for quality in (1, 5, 10, 25, 50, 75)),
    "webp": tuple({"quality": quality, "method": 6} for quality in (0, 10, 25, 50, 75)),
    "jpeg2000": tuple(
        {"quality_mode": "rates", "quality_layers": [rate], "no_jp2": True} for rate in (60, 30, 15, 8, 4)
    ),
}
"""Settings at which each format is measured, the coarsest first."""


@dataclass(frozen=True)
class CodecPoint:
    """One format at one setting; means over the images."""

    codec: str
    setting: str
    """Setting in words, such as "quality 10"; "shrunk to 16" if the picture was made smaller first."""
    file_bytes: float
    payload_bytes: float
    """Bytes of the file less those of a blank image's, at least 0."""
    psnr: float
    """Peak signal-to-noise ratio in dB."""


def encoded(image: np.ndarray, codec: str, settings: dict[str, Any]) -> bytes:
    """The file of an image uint8 [H, W] or [H, W, 3]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(
        file, {"jpeg": "JPEG", "webp": "WEBP", "jpeg2000": "JPEG2000"}[codec], **settings
    )
    return file.getvalue()


def available() -> tuple[str, ...]:
    """The formats that this Pillow can write."""
    from PIL import features

    need = {"jpeg": "jpg", "webp": "webp", "jpeg2000": "jpg_2000"}
    return tuple(name for name, feature in need.items() if features.check(feature))


def codec_points(images: Tensor, codecs: Sequence[str] = (), shrunk: Sequence[int] = ()) -> list[CodecPoint]:
    """Every format at its settings on images [b, C, H, W] in [0, 1]; () is all that Pillow has here.

    `shrunk`: sizes to which pictures are also scaled before they are encoded at the coarsest setting.
    """
    found = []
    for codec in codecs or available():
        found += [_point(images, codec, settings, None) for settings in QUALITIES[codec]]
        found += [_point(images, codec, QUALITIES[codec][0], size) for size in shrunk]
    return found


def _point(images: Tensor, codec: str, settings: dict[str, Any], size: int | None) -> CodecPoint:
    sizes, reached = [], []
    for image in images:
        data, back = _round_trip(image, codec, settings, size)
        sizes.append(len(data))
        reached.append(float(psnr(back[None], image[None]).clamp(max=60)))
    shape = (size, size) if size else tuple(images.shape[2:])
    levels = np.full(shape if images.shape[1] == 1 else (*shape, 3), 128, np.uint8)
    blank = len(encoded(levels, codec, settings))
    setting = (
        f"quality {settings['quality']}" if "quality" in settings else f"rate {settings['quality_layers'][0]}"
    )
    return CodecPoint(
        codec=codec,
        setting=setting + (f", shrunk to {size}" if size else ""),
        file_bytes=float(np.mean(sizes)),
        payload_bytes=float(np.mean([max(0, length - blank) for length in sizes])),
        psnr=float(np.mean(reached)),
    )


def _round_trip(
    image: Tensor, codec: str, settings: dict[str, Any], size: int | None
) -> tuple[bytes, Tensor]:
    """(the file of an image [C, H, W], the image read from it)."""
    from PIL import Image

    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    plain = Image.fromarray(np.squeeze(levels))
    small = plain if size is None else plain.resize((size, size), Image.Resampling.BOX)
    data = encoded(np.asarray(small), codec, settings)
    with Image.open(io.BytesIO(data)) as read:
        back = read.convert(plain.mode).resize(plain.size, Image.Resampling.BICUBIC)
    channels, height, width = image.shape
    return data, torch.as_tensor(picture(back, codec, (channels, height, width)))
