"""`oneloop decompress`: a file of tokens back to pictures."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from oneloop.cli.terminal import say
from oneloop.cli.written import new_file
from oneloop.core.destinations import check_apart
from oneloop.models.image_tokenizer.released import open_tokenizer
from oneloop.models.image_tokenizer.token_file import TokenFileError, read_tokens
from oneloop.run.checkpoint import locate


def decompress(
    file: Annotated[Path, typer.Argument(help="File that `oneloop compress` wrote.")],
    model: Annotated[str, typer.Option(help="Run directory, checkpoint, or folder of the tokenizer.")],
    tokens: Annotated[int | None, typer.Option(help="Decode only so many tokens of each image.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG to write; several images are numbered. Default: FILE-decoded.png.", callback=new_file
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Decode what is there of a file that ends early.")
    ] = False,
) -> None:
    """Turn a file of tokens back into pictures.

    Example: oneloop decompress cat.1dp --model runs/one_d_piece --tokens 2
    """
    from PIL import Image

    out = out or file.with_name(f"{file.stem}-decoded.png")  # FILE.png may be what was compressed
    check_apart(out, file)
    tokenizer = open_tokenizer(locate(model)[0])
    found = read_tokens(file, tokenizer.digest(), strict=not partial)
    if tokens is not None and not 1 <= tokens <= found.whole:
        raise TokenFileError(f"--tokens must lie in 1..{found.whole}, got {tokens}")
    if found.lost:
        say(f"{file} ends early: {found.lost} tokens are lost")
    for number, row in enumerate(found.tokens):
        name = out if len(found.tokens) == 1 else out.with_stem(f"{out.stem}-{number}")
        if not len(row):
            say(f"image {number}: none of its tokens is there")
            continue
        with torch.no_grad():
            image = tokenizer.decode(row[:tokens])[0]
        levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(np.squeeze(levels)).save(name)
        say(f"{name}: {min(len(row), tokens or len(row))} of {found.whole} tokens")
