"""A handwriting model as one HTML file that opens offline: by writer a reference, words that it wrote in
this hand, what a reader makes of them with mistakes marked, and whose hand each looks like most.

Whose hand: cosines between the model's own spatial embeddings of a picture and of the writers' references. It
is the model's opinion of itself, and the page says so.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from oneloop.core.storage import replace_file
from oneloop.report.template import filled
from oneloop.report.tokens_page import address


@dataclass(frozen=True)
class Written:
    """A word that the model wrote."""

    picture: np.ndarray
    """[H, w], paper 1 and ink 0."""
    text: str
    """What it was told to write."""
    read: str | None
    """What a reader made of it; None: there is no reader."""
    nearest: list[tuple[str, float]]
    """Writers and their cosines, the nearest first."""


@dataclass(frozen=True)
class WriterSamples:
    """A writer: his reference, a word that he really wrote, and what was written in his hand."""

    name: str
    reference: np.ndarray
    real: np.ndarray
    real_read: str | None
    text: str
    written: list[Written]


def marked(read: str, text: str) -> list[tuple[str, str]]:
    """Pieces of what was read and what each is: right, wrong, extra, or missing (then the piece is of the
    text).

    >>> marked("cet", "cat")
    [('c', 'right'), ('e', 'wrong'), ('t', 'right')]
    """
    found = []
    kinds = {"equal": "right", "replace": "wrong", "insert": "extra", "delete": "missing"}
    for kind, a, b, c, d in difflib.SequenceMatcher(None, text, read, autojunk=False).get_opcodes():
        found.append((text[a:b] if kind == "delete" else read[c:d], kinds[kind]))
    return found


def write_handwriting_page(path: Path, hands: Sequence[WriterSamples], title: str, reader: str) -> Path:
    """Writes the page of `hands` to `path` and returns it; `reader` names what read the words, empty: nothing
    did."""
    text = filled(
        "handwriting.html",
        ("style.css", "handwriting.css"),
        kind="handwriting model",
        title=title,
        sentence=sentence(hands),
        hands=hands,
        reader=reader,
        marked=marked,
        address=lambda picture: address(torch.from_numpy(np.ascontiguousarray(picture))),
        letters=sum(len(word.text) for hand in hands for word in hand.written),
    )
    replace_file(path, text)
    return path


def sentence(hands: Sequence[WriterSamples]) -> str:
    """The result in one sentence."""
    words = [(hand, word) for hand in hands for word in hand.written]
    own = sum(word.nearest[0][0] == hand.name for hand, word in words if word.nearest)
    told = (
        f"{len(words)} words in {len(hands)} hands; {own} look most like their own writer to the model itself"
    )
    read = [(hand, word) for hand, word in words if word.read is not None]
    if not read:
        return f"{told}. Nothing read them."
    right = sum(word.read == word.text for _, word in read)
    real = sum(hand.real_read == hand.text for hand in hands)
    return f"{told}. The reader reads {right} of them right, and {real} of {len(hands)} real words."
