"""Pictures of any kind as numbers: float32 [channels, height, width] in [0, 1].

Pillow   every mode: 8 and 16 bits, palettes, CMYK, alpha (laid over white), floats in [0, 1]; turned as
         its EXIF data says
arrays   uint8 and uint16 [H, W] or [H, W, C], bool, and floats in [0, 1] as [C, H, W]
"""

from typing import Any

import numpy as np

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of more than 8 bits a pixel."""
DEPTH = 2**16 - 1
ROUNDING = 1e-3
"""A value so far outside [0, 1] is taken for the rounding of one inside."""
Size = tuple[int, int, int]


def picture(image: Any, where: str, wanted: Size | None = None) -> np.ndarray:
    """`image` as float32 [C, H, W]; a Pillow picture is cut from its middle and scaled to the size `wanted`.

    Raises ValueError, naming `where`, for values outside [0, 1], and for an array of another size.
    """
    if hasattr(image, "convert"):
        return _of_pillow(image, where, wanted)
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.dtype == object or array.ndim not in (2, 3):
        raise ValueError(f"{where}: no picture but {image!r:.80}")
    if array.dtype in (np.uint8, np.uint16, bool):
        scale = 1 if array.dtype == bool else np.iinfo(array.dtype).max
        array = (array if array.ndim == 3 else array[..., None]).transpose(2, 0, 1) / scale
    elif array.ndim == 2:
        array = array[None]
    if wanted is not None and array.shape != wanted:
        kind = "[C, H, W]" if np.asarray(image).dtype.kind == "f" else "[H, W, C]"
        raise ValueError(
            f"{where}: an array of shape {np.shape(image)} is taken as {kind}, which is a picture of "
            f"{array.shape}; the network takes {wanted} (channels, height, width)"
        )
    return _checked(array, where)


def _of_pillow(image: Any, where: str, wanted: Size | None) -> np.ndarray:
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        image = _deep(image, where) if image.mode in (*DEEP, "F") else _flat(image)
    except OSError as error:  # a file that ends too early is found when its pixels are read
        raise ValueError(f"{where}: the picture cannot be read: {error}") from None
    if wanted is None:
        return _array(image)
    channels, height, width = wanted
    if image.mode != "F":
        image = image.convert("L" if channels == 1 else "RGB")
    array = _array(ImageOps.fit(image, (width, height)))
    return np.repeat(array, channels, axis=0) if len(array) < channels else array


def _flat(image: Any) -> Any:
    """A picture of 8 bits a channel in L or RGB, what is transparent white."""
    from PIL import Image

    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
        return image.convert("L") if grey else image
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _deep(image: Any, where: str) -> Any:
    """A grey picture of floats in [0, 1]."""
    from PIL import Image

    array = np.asarray(image, dtype=np.float32) / (1 if image.mode == "F" else DEPTH)
    return Image.fromarray(_checked(array, f"{where} (mode {image.mode})"))


def _array(image: Any) -> np.ndarray:
    array = np.asarray(image)
    if array.dtype == np.uint8:
        array = (array if array.ndim == 3 else array[..., None]).transpose(2, 0, 1) / 255
    else:
        array = array[None].clip(0, 1)  # scaling overshoots at edges
    return np.asarray(array, dtype=np.float32)


def _checked(array: np.ndarray, where: str) -> np.ndarray:
    array = np.asarray(array, dtype=np.float32)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"{where}: a picture has no or not only finite values (shape {array.shape})")
    if array.min() < -ROUNDING or array.max() > 1 + ROUNDING:
        raise ValueError(
            f"{where}: a picture of numbers must lie in [0, 1], got {array.min():g} to {array.max():g} "
            "(whole numbers 0 .. 255 are uint8)"
        )
    return array.clip(0, 1)
