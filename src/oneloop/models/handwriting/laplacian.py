"""Laplacian images of words, in which strokes are outlines, and words of several widths in one batch.

    L(x) = conv(x, K),  K = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]        edges continued by their own pixels

    clip     clamp(L, 0, 1): of a step from paper (1) to ink (0), the side of the ink
    abs      |L| up to 1: both sides
    signed   L itself, in [-4, 4]

One-DM (arXiv 2409.04004) reads such images as 8-bit files, in which there are no negative numbers; whether
those were cut off or made positive is not said, so both are offered.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Mode = Literal["clip", "abs", "signed"]
PAPER = 1.0


class Words(NamedTuple):
    """Word pictures of several widths, padded on the right to the widest."""

    images: Tensor
    """Pictures [b, 1, H, W] in [0, 1], padded with paper (1)."""
    high: Tensor
    """Their Laplacian images [b, 1, H, W], taken before padding and padded with 0."""
    mask: Tensor
    """bool [b, W], the columns that are no padding."""


def laplacian(images: Tensor, mode: Mode = "clip") -> Tensor:
    """Laplacian [b, 1, H, W] of pictures [b, 1, H, W]; a constant gives 0, at its edges too.

    Raises ValueError for another shape or mode.

    >>> step = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(3, 1)[None, None]
    >>> laplacian(step)[0, 0, 1]
    tensor([0., 0., 1., 0.])
    """
    if images.dim() != 4 or images.shape[1] != 1:
        raise ValueError(f"laplacian: images must be [b, 1, H, W], got {tuple(images.shape)}")
    if mode not in get_args(Mode):
        raise ValueError(f"laplacian: mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    around = F.pad(images, (1, 1, 1, 1), mode="replicate")
    # sums of differences, not one of five terms: a constant then gives 0 to the bit
    signed = (
        (around[..., :-2, 1:-1] - images)
        + (around[..., 2:, 1:-1] - images)
        + (around[..., 1:-1, :-2] - images)
        + (around[..., 1:-1, 2:] - images)
    )
    if mode == "signed":
        return signed
    return (signed if mode == "clip" else signed.abs()).clamp(0, 1)


def words(pictures: Sequence[Tensor | np.ndarray], mode: Mode = "clip", longest: int | None = None) -> Words:
    """The batch of word pictures [1, H, w], each of its own width w; of one wider than `longest`, the left
    part.

    Raises ValueError for no pictures, for one that is not [1, H, w], and for pictures of several heights.
    """
    given = [torch.as_tensor(each, dtype=torch.float32) for each in pictures]
    if not given:
        raise ValueError("words: there are no pictures")
    for place, each in enumerate(given):
        if each.dim() != 3 or each.shape[0] != 1 or not each.shape[2] or each.shape[1] != given[0].shape[1]:
            wanted = f"[1, {given[0].shape[1]}, w]" if given[0].dim() == 3 else "[1, H, w]"
            raise ValueError(f"words: picture {place} must be {wanted}, got {tuple(each.shape)}")
    given = [each[..., :longest] for each in given]
    widths = torch.tensor([each.shape[-1] for each in given])
    widest = int(widths.max())
    outlines = [laplacian(each[None], mode)[0] for each in given]
    return Words(
        torch.stack([F.pad(each, (0, widest - each.shape[-1]), value=PAPER) for each in given]),
        torch.stack([F.pad(each, (0, widest - each.shape[-1])) for each in outlines]),
        torch.arange(widest) < widths[:, None],
    )
