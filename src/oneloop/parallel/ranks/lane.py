"""Which pieces of a batch a rank passes over: those of its lane."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """Ranks of one lane make the same passes, each with its part of the weights."""

    number: int
    lanes: int
    """Number of lanes."""
    speaks: bool = True
    """Whether this rank reports what its lane found; one rank of each lane does."""
