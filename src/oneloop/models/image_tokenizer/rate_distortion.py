"""Quality by bytes: an image tokenizer at each length beside ordinary image files, on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oneloop.models.image_tokenizer.codecs import CodecPoint, codec_points
from oneloop.models.image_tokenizer.packing import packed_size
from oneloop.models.image_tokenizer.quality import Metric, psnr
from oneloop.models.image_tokenizer.token_file import to_bytes, token_file
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer


@dataclass(frozen=True)
class TokenPoint:
    """The tokenizer with its first `length` tokens; means over the images."""

    length: int
    payload_bytes: float
    """Bytes of an image's tokens alone."""
    file_bytes: float
    """Bytes of a file that holds this image alone, header included."""
    shared_bytes: float
    """Bytes of one file that holds all the images, over their number."""
    quality: float


@dataclass(frozen=True)
class RateDistortion:
    """Points of the tokenizer and of ordinary files, and the quality that no bytes at all give."""

    tokens: list[TokenPoint]
    codecs: list[CodecPoint]
    mean_image: float
    """Quality of the mean of `images` in every image's place."""


@torch.no_grad()
def rate_distortion(
    tokenizer: OneDTokenizer,
    images: Tensor,
    lengths: Sequence[int] = (),
    metric: Metric = psnr,
    codecs: Sequence[str] = (),
    shrunk: Sequence[int] = (),
) -> RateDistortion:
    """The curves on images [b, C, H, W] in [0, 1]; `lengths` () is every one from 1 to N.

    `metric` is of the tokenizer's images and of the mean image; files of other formats are measured by PSNR.
    """
    indices = tokenizer.encode(images)
    digest, points = tokenizer.digest(), []
    for length in lengths or range(1, tokenizer.config.tokens + 1):
        kept, config = [row[:length].cpu() for row in indices], tokenizer.config
        alone, together = (len(to_bytes(token_file(some, config, digest))) for some in (kept[:1], kept))
        quality = metric(tokenizer.decode(indices, length), images)
        points.append(
            TokenPoint(
                length=length,
                payload_bytes=packed_size(length, config.bits),
                file_bytes=alone,
                shared_bytes=together / len(images),
                quality=float(quality.mean()),
            )
        )
    mean = images.mean(0).expand_as(images)
    return RateDistortion(points, codec_points(images, codecs, shrunk), float(metric(mean, images).mean()))
