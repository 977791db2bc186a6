"""A row of handwriting data: a target, two references in the same hand, the text and the writer.

    prompt       the text of the target
    image        the target, float32 [1, H, W] in [0, 1], paper 1 and ink 0
    width        columns of `image` that are no padding
    reference    another word of the writer, [1, H, w], never the target itself
    positive     a third word of the writer, [1, H, v], for contrastive losses
    writer       number of the writer among all of the data, whatever the split
    writer_name  name of the writer

References keep their own widths; `oneloop.models.handwriting.laplacian.words` makes batches of them.
"""

from typing import Any

import numpy as np

from oneloop.core import draws


def row(
    text: str,
    image: np.ndarray,
    references: tuple[np.ndarray, np.ndarray],
    writer: tuple[int, str],
    width: int | None,
    where: str,
) -> dict[str, Any]:
    """The row of a target [H, w] and two references. Raises ValueError, naming `where`, for a target wider
    than `width`.
    """
    if width is not None and image.shape[1] > width:
        raise ValueError(f"{where} is {image.shape[1]} pixels wide at this height; width is {width}")
    return {
        "prompt": text,
        "image": padded(image, width)[None],
        "width": image.shape[1],
        "reference": references[0][None],
        "positive": references[1][None],
        "writer": writer[0],
        "writer_name": writer[1],
    }


def padded(image: np.ndarray, width: int | None) -> np.ndarray:
    """`image` [H, w] with paper on its right, [H, width]."""
    more = 0 if width is None else width - image.shape[1]
    return np.pad(image, ((0, 0), (0, more)), constant_values=1.0)


def two_others(count: int, key: tuple[Any, ...]) -> tuple[int, int]:
    """Two numbers below `count`, different if there are two, drawn by (what, row)."""
    first, second = draws.uniforms(draws.mix(*key), np.arange(2))
    one = int(first * count)
    return one, (one + 1 + int(second * (count - 1))) % count if count > 1 else one
