"""Options that all data parts of written words have, each with its meaning."""

from typing import Annotated

from pydantic import Field

from oneloop.sample.data.handwriting.splits import Vocabulary, Writers

WriterChoice = Annotated[
    Writers,
    Field(description="seen: writers to learn from; unseen: those kept for evaluation; all: both."),
]
VocabularyChoice = Annotated[
    Vocabulary,
    Field(
        description="Words of the targets. known: those to learn from; held_out: those kept for "
        "evaluation; all: both. References show known words only."
    ),
]
Unseen = Annotated[
    float, Field(ge=0, lt=1, description="Share of the writers that are unseen, at least one; 0: none.")
]
HeldOut = Annotated[float, Field(ge=0, lt=1, description="Share of all words that are held out.")]
Longest = Annotated[
    int, Field(ge=1, description="Most characters of a word; longer ones are left out and counted.")
]
Height = Annotated[int, Field(ge=8, description="Height of every picture, in pixels.")]
Width = Annotated[
    int | None,
    Field(
        ge=8, description="Width to which targets are padded with paper, in pixels; None: each has its own."
    ),
]
Seed = Annotated[int, Field(ge=0, description="Seed of the rows.")]
