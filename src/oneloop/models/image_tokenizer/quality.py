"""How many tokens an image needs for a quality, and how well an image came out."""

from collections.abc import Callable

import torch
from torch import Tensor

from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer

Metric = Callable[[Tensor, Tensor], Tensor]
"""(images [b, C, H, W], the originals) -> [b], higher is better."""


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [b] in dB of images in [0, 1]: -10 log10 of the mean squared error.

    >>> psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1))
    tensor([20.])
    """
    return -10 * (images - originals).square().flatten(1).mean(1).log10()


@torch.no_grad()
def quality_by_length(tokenizer: OneDTokenizer, image: Tensor, metric: Metric = psnr) -> Tensor:
    """[N], the quality of an image [C, H, W] with its first 1, 2, ..., N tokens."""
    image = image.to(tokenizer.device)[None]
    indices, whole = tokenizer.encode(image), tokenizer.config.tokens
    shown = tokenizer.decode(indices.expand(whole, -1), torch.arange(1, whole + 1))
    return metric(shown, image.expand_as(shown))


@torch.no_grad()
def length_for_quality(
    tokenizer: OneDTokenizer, image: Tensor, target: float, metric: Metric = psnr
) -> int | None:
    """A number of tokens with which an image [C, H, W] reaches `target`; None: no number does.

    It is the fewest where quality grows with length: bisection finds it with log2 N decodes. Where those
    decodes show that quality does not grow, or where all tokens together fall short, every length is looked
    at, and it is the fewest again.
    """
    image, whole = image.to(tokenizer.device)[None], tokenizer.config.tokens
    indices, seen = tokenizer.encode(image), dict[int, float]()

    def quality(length: int) -> float:
        if length not in seen:
            seen[length] = float(metric(tokenizer.decode(indices[:, :length]), image))
        return seen[length]

    low, high = 1, whole
    while low < high and quality(whole) >= target:
        middle = (low + high) // 2
        low, high = (low, middle) if quality(middle) >= target else (middle + 1, high)
    monotone = all(quality(a) <= quality(b) for a in seen for b in seen if a < b)
    if monotone and quality(whole) >= target:
        return low
    return next((length for length in range(1, whole + 1) if quality(length) >= target), None)
