"""`oneloop compress`: images to a file of tokens of an image tokenizer."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from oneloop.cli.terminal import say
from oneloop.cli.written import new_file
from oneloop.core.destinations import check_apart
from oneloop.core.pictures import picture
from oneloop.models.image_tokenizer.packing import packed_size
from oneloop.models.image_tokenizer.quality import length_for_quality, psnr
from oneloop.models.image_tokenizer.released import open_tokenizer
from oneloop.models.image_tokenizer.token_file import token_file, write_tokens
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from oneloop.run.checkpoint import locate


class CompressError(ValueError):
    """Images that cannot be compressed as asked; the message says why."""


def compress(
    images: Annotated[list[Path], typer.Argument(help="Pictures to compress, into one file.")],
    model: Annotated[str, typer.Option(help="Run directory, checkpoint, or folder of a tokenizer.")],
    tokens: Annotated[int | None, typer.Option(help="Tokens of each image; default: all.")] = None,
    quality: Annotated[
        float | None, typer.Option(help="PSNR in dB that each image is to reach with as few as it takes.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; default: the first image's name with .1dp.", callback=new_file),
    ] = None,
) -> None:
    """Compress pictures to a file of tokens, any beginning of which decodes.

    A picture is cut from its middle and scaled to the tokenizer's size; what is transparent becomes white.

    Example: oneloop compress cat.png --model runs/one_d_piece --tokens 4
    """
    if tokens is not None and quality is not None:
        raise CompressError("--tokens and --quality exclude each other: give one of them")
    out = out or images[0].with_suffix(".1dp")
    check_apart(out, *images)
    tokenizer = open_tokenizer(locate(model)[0])
    config = tokenizer.config
    if tokens is not None and not 1 <= tokens <= config.tokens:
        raise CompressError(f"--tokens must lie in 1..{config.tokens} for this tokenizer, got {tokens}")
    pictures = torch.stack([read(path, config.picture) for path in images])
    indices = tokenizer.encode(pictures)
    lengths = (
        [tokens or config.tokens] * len(images) if quality is None else _lengths(tokenizer, pictures, quality)
    )
    kept = [row[:length] for row, length in zip(indices, lengths, strict=True)]
    size = write_tokens(out, token_file(kept, config, tokenizer.digest()))
    for path, row, original in zip(images, kept, pictures, strict=True):
        with torch.no_grad():
            reached = float(psnr(tokenizer.decode(row), original[None]))
        missed = quality is not None and reached < quality
        short = f"; {quality:g} dB cannot be reached" if missed else ""
        bits = packed_size(len(row), config.bits)
        say(f"{path.name}: {len(row)} of {config.tokens} tokens, {bits} bytes, PSNR {reached:.2f} dB{short}")
    payload = packed_size(sum(lengths), config.bits)
    say(f"{out}: {size} bytes, of which {payload} are tokens and {size - payload} header")


def _lengths(tokenizer: OneDTokenizer, pictures: Tensor, quality: float) -> list[int]:
    """Tokens of each picture; all of them where none are enough."""
    found = [length_for_quality(tokenizer, each, quality) for each in pictures]
    return [tokenizer.config.tokens if length is None else length for length in found]


def read(path: Path, wanted: tuple[int, int, int]) -> Tensor:
    """float32 [C, H, W] in [0, 1]. Raises CompressError for a file that is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return torch.as_tensor(picture(image, str(path), wanted))
    except OSError as error:  # what is no picture, and what is not there
        raise CompressError(f"cannot read the picture {path}: {error}") from None
