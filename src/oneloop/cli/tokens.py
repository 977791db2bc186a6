"""`oneloop tokens`: a page that shows what an image tokenizer does with pictures."""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml
from torch import Tensor

from oneloop.cli.compress import CompressError, read
from oneloop.cli.terminal import say
from oneloop.cli.written import new_file
from oneloop.core.pictures import picture
from oneloop.core.rooms import build
from oneloop.models.image_tokenizer.rate_distortion import rate_distortion
from oneloop.models.image_tokenizer.released import open_tokenizer
from oneloop.report.tokens_page import write_tokens_page
from oneloop.run.checkpoint import locate

Size = tuple[int, int, int]


def tokens(
    model: Annotated[str, typer.Argument(help="Run directory, checkpoint, or folder of a tokenizer.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures to show.")] = None,
    data: Annotated[
        str, typer.Option(help="Data part whose rows have an image, such as '{digits: {split: test}}'.")
    ] = "",
    size: Annotated[int, typer.Option(min=1, help="Most rows of --data.")] = 200,
    out: Annotated[Path, typer.Option(help="Page to write.", callback=new_file)] = Path("tokens.html"),
) -> None:
    """Write a page on an image tokenizer: pictures at every length, bytes against quality.

    A slider goes over the lengths; maps show what each token contributes.

    Example: oneloop tokens runs/one_d_piece --data '{digits: {split: test}}'
    """
    tokenizer = open_tokenizer(locate(model)[0])
    config = tokenizer.config
    if bool(images) == bool(data):
        raise CompressError("give pictures, or --data with a data part, and not both")
    shown = torch.stack(
        [read(path, config.picture) for path in images or []] or rows(data, size, config.picture)
    )
    measured = rate_distortion(tokenizer, shown, shrunk=(max(1, config.image_size // 2),))
    write_tokens_page(out, tokenizer, shown, measured, Path(model).name)
    for point in measured.tokens:
        say(f"{point.length} tokens: {point.payload_bytes:.0f} bytes, {point.quality:.2f} dB")
    say(f"mean image: {measured.mean_image:.2f} dB")
    say(f"page: {out}")


def rows(data: str, size: int, wanted: Size) -> list[Tensor]:
    """The images of the first `size` rows of a data part written as in a recipe. Raises CompressError."""
    try:
        spec: Any = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise CompressError(f"--data {data!r} is no YAML: {error}") from None
    part = build("data", spec)
    found = []
    for key in range(min(size, len(part))):
        image = part[key].get("image")
        if image is None:
            raise CompressError(f"--data: row {key} has no 'image'; its columns: {', '.join(part[key])}")
        found.append(torch.as_tensor(picture(image, f"data row {key}", wanted)))
    return found
