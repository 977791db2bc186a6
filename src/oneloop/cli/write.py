"""`oneloop write`: a text in the hand of a reference picture."""

import textwrap
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_file
from oneloop.core.destinations import check_apart
from oneloop.models.handwriting.reference import reference
from oneloop.models.handwriting.writing import as_picture, open_writer, set_lines, words_of_text, write_word
from oneloop.run.checkpoint import locate


class WriteError(ValueError):
    """A text that cannot be written as asked; the message says why."""


def write(
    text: Annotated[str, typer.Argument(help="What to write; it may have several words and lines.")],
    style: Annotated[Path, typer.Option(help="Picture of one word in the hand to write in.")],
    model: Annotated[str, typer.Option(help="Run directory, checkpoint, or folder of a handwriting model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="PNG file to write.", callback=new_file)] = Path(
        "written.png"
    ),
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Network calls for each word.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the noise that words begin as.")] = 0,
    wrap: Annotated[int, typer.Option(min=0, help="Most characters of a line; 0: lines as given.")] = 0,
    transparent: Annotated[bool, typer.Option(help="Ink on nothing instead of on white paper.")] = False,
    invert: Annotated[bool, typer.Option(help="The picture has light ink on dark paper.")] = False,
    crop: Annotated[bool, typer.Option(help="Of a picture of several words, take the widest.")] = False,
) -> None:
    """Write a text in the hand of a picture of one word.

    Example: oneloop write "any text" --style word.png --model runs/one_dm -o written.png
    """
    if out.suffix.lower() != ".png":
        raise WriteError(f"--out must end in .png, got '{out}'")
    check_apart(out, style)
    network = open_writer(locate(model)[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        picture = reference(style, network.config.height, invert=invert, crop=crop)
        if wrap:
            text = "\n".join("\n".join(textwrap.wrap(line, wrap)) for line in text.splitlines())
        lines = words_of_text(network, text)
    for each in said:
        say(f"warning: {each.message}")
    words = [word for line in lines for word in line]
    shown = track(enumerate(words), "writing", len(words), console=console, transient=True)
    drawn = iter([write_word(network, picture, word, place, steps, seed) for place, word in shown])
    page = set_lines([[next(drawn) for _ in line] for line in lines], network.config.height)
    as_picture(page, transparent).save(out)
    say(f"{out}: {len(words)} words in {len(lines)} lines, {page.shape[1]} x {page.shape[0]} pixels")
