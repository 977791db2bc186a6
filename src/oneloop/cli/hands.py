"""`oneloop hands`: a page on a handwriting model, words by writer."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from rich.progress import track
from torch.nn.functional import normalize

from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_file
from oneloop.models.flow.one_dm import HandwritingNetwork
from oneloop.models.handwriting.writing import open_writer, write_word
from oneloop.models.judges.ctc_reader import CtcReader
from oneloop.report.handwriting_page import WriterSamples, Written, write_handwriting_page
from oneloop.run.checkpoint import locate
from oneloop.sample.data.handwriting_fonts import HandwritingFonts

NEAREST = 3
"""Writers that are named beside a word."""
ROWS = 64
"""Rows of the data that are searched for words of the writers, per writer asked for."""


class HandsError(ValueError):
    """A page that cannot be written as asked; the message says why."""


def hands(
    model: Annotated[
        str, typer.Argument(help="Run directory, checkpoint, or folder of a handwriting model.")
    ],
    fonts: Annotated[Path, typer.Option(help="Folder of fonts, the writers.")] = Path("fonts/handwriting"),
    reader: Annotated[Path | None, typer.Option(help="Folder of a reader of words; default: none.")] = None,
    who: Annotated[
        Literal["seen", "unseen", "all"], typer.Option(help="Writers: those of the training, or the others.")
    ] = "unseen",
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Most writers.")] = 12,
    words: Annotated[int, typer.Option(min=1, help="Words written in each hand.")] = 4,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Network calls for each word.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the words and of their noise.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="HTML file to write.", callback=new_file)] = Path(
        "hands.html"
    ),
) -> None:
    """Write a page on a handwriting model: words by writer, as they are read.

    Example: oneloop hands runs/one_dm --reader readers/judge -o hands.html
    """
    network = open_writer(locate(model)[0])
    data = HandwritingFonts(
        folder=str(fonts),
        height=network.config.height,
        longest=network.config.letters,
        writers=who,
        vocabulary="all",
        size=ROWS * count,
        seed=seed,
    )
    reads = None if reader is None else CtcReader.load(reader)
    rows: dict[str, list[dict[str, object]]] = {}
    for key in range(len(data)):
        row = data[key]
        if len(rows.setdefault(row["writer_name"], [])) < words:
            rows[row["writer_name"]].append(row)
    names = sorted(rows)[:count]
    known = embedded(network, [rows[name][0]["reference"] for name in names])
    made = []
    for name in track(names, "writing", console=console, transient=True):
        given = rows[name][0]
        drawn = [
            write_word(network, np.asarray(given["reference"]), str(row["prompt"]), place, steps, seed)
            for place, row in enumerate(rows[name])
        ]
        likeness = embedded(network, [each[None] for each in drawn]) @ known.T
        written = [
            Written(picture, str(row["prompt"]), read(reads, picture), nearest(near, names))
            for picture, row, near in zip(drawn, rows[name], likeness, strict=True)
        ]
        real = np.asarray(given["image"])
        made.append(
            WriterSamples(
                name,
                np.asarray(given["reference"]),
                real,
                read(reads, real[0]),
                str(given["prompt"]),
                written,
            )
        )
    write_handwriting_page(out, made, f"Words in {len(made)} hands", "" if reader is None else str(reader))
    say(f"written: {out}")


def read(reader: CtcReader | None, picture: np.ndarray) -> str | None:
    """What `reader` makes of a picture [H, w]; None without one."""
    return None if reader is None else reader.read(torch.from_numpy(picture.copy())[None, None])[0]


@torch.no_grad()
def embedded(network: HandwritingNetwork, pictures: list[object]) -> torch.Tensor:
    """[b, p], spatial embeddings of length 1 of pictures [1, H, w]."""
    told = network.model.seen([np.asarray(each) for each in pictures])
    return normalize(network.model.look(*told).z_spatial, dim=1)


def nearest(cosines: torch.Tensor, names: list[str]) -> list[tuple[str, float]]:
    """The names with the largest of `cosines`, one for each name."""
    order = cosines.argsort(descending=True)[:NEAREST].tolist()
    return [(names[each], float(cosines[each])) for each in order]
