"""Initial weights that are the same whenever a network is made: the `seed` option of models, and its use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import Field

Seed = Annotated[int, Field(ge=0, description="Seed of the initial weights.")]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside this context torch draws on the CPU from `seed`; afterwards its global state is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
