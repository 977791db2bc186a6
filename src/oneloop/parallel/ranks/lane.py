"""Which pieces of a batch a rank passes over: those of its lane."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """Ranks of one lane make the same passes, each with its part of the weights."""

    number: int
    lanes: int
    """Number of lanes."""
    speaks: bool = True
    """Whether this rank says for its lane what was found: one of them does."""
