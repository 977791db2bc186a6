"""`oneloop fit`: trains a reader of words, or a classifier of hands, on fonts, as a judge of handwriting."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from oneloop.cli.counted import counted
from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_folder
from oneloop.measure.edit_distance import character_error_rate
from oneloop.models.handwriting.laplacian import words
from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig
from oneloop.models.judges.fit_reader import fit_hand_classifier, fit_reader
from oneloop.models.judges.hand_classifier import HandClassifier, HandConfig
from oneloop.sample.data.handwriting_fonts import HandwritingFonts

TESTED = 200
"""Words of each kind on which the judge is measured in the end."""
TEST_SEED = 1_000_000
"""Added to the seed: those words are drawn anew."""


class FitError(ValueError):
    """A judge that cannot be trained as asked; the message says why."""


def fit(
    kind: Annotated[Literal["reader", "hands"], typer.Argument(help="A reader, or a classifier of hands.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the judge.", callback=new_folder)],
    fonts: Annotated[Path, typer.Option(help="Folder of fonts, the writers.")] = Path("fonts/handwriting"),
    who: Annotated[
        Literal["seen", "unseen", "all"], typer.Option(help="Writers to learn from, as in handwriting_fonts.")
    ] = "seen",
    vocabulary: Annotated[
        Literal["known", "held_out", "all"], typer.Option(help="Words to learn from, as in the same part.")
    ] = "known",
    height: Annotated[int, typer.Option(min=8, help="Height of the words, in pixels.")] = 16,
    longest: Annotated[int, typer.Option(min=1, help="Most characters of a word.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of 32 words.")] = 800,
    seed: Annotated[int, typer.Option(min=0, help="Seed; judges of two seeds are independent.")] = 0,
) -> None:
    """Train a reader of words, or a classifier of hands, on fonts, as a judge of handwriting.

    Example: oneloop fit reader -o readers/judge
    """
    if (out / "config.json").exists():
        raise FitError(f"--out: {out} holds a model already; take another folder")
    data = partial(HandwritingFonts, folder=str(fonts), height=height, longest=longest)
    shown = data(writers=who, vocabulary=vocabulary, seed=seed)
    writers = tuple(hand.name for hand in shown.hands)
    with counted(console, f"fitting {kind}", steps) as count:

        def advance(step: int, loss: float) -> None:
            count(step + 1, f"loss {loss:.2f}")

        made: CtcReader | HandClassifier
        if kind == "reader":
            made = fit_reader(shown, ReaderConfig(height=height), steps=steps, seed=seed, advance=advance)
        else:
            config = HandConfig(writers=writers, height=height)
            made = fit_hand_classifier(shown, config, steps=steps, seed=seed, advance=advance)
    made.save(out)
    for theirs in ("seen", "unseen") if isinstance(made, CtcReader) else (who,):
        for known in ("known", "held_out"):
            test = data(writers=theirs, vocabulary=known, seed=seed + TEST_SEED, size=TESTED)
            say(f"{theirs} writers, {known} words: {measured(made, test)}")
    say(f"written: {out}")


def measured(judge: CtcReader | HandClassifier, data: HandwritingFonts) -> str:
    """How good a judge is on the rows of `data`, in words."""
    rows = [data[key] for key in range(len(data))]
    batch = words([row["image"] for row in rows])
    widths = batch.mask.sum(1)
    if isinstance(judge, CtcReader):
        read = judge.read(batch.images, widths)
        rates = [character_error_rate(said, row["prompt"]) for said, row in zip(read, rows, strict=True)]
        return f"{sum(rates) / len(rates):.0%} of the characters read wrong"
    with torch.no_grad():
        right = judge(batch.images, widths).argmax(1) == judge.classes([row["writer_name"] for row in rows])
    return f"{float(right.double().mean()):.0%} of the writers recognised"
