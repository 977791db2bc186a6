"""Baselines of drawing an architecture: operation by operation, and until the cost fits."""

import torch

from oneloop.models.supernet.search_space import SearchSpace


def sample_operations(space: SearchSpace, generator: torch.Generator) -> dict[str, int]:
    """Each choice uniform and independent: costs gather in the middle, as in single-path one-shot search."""
    return {
        name: choice.values[int(torch.randint(len(choice.values), (), generator=generator))]
        for name, choice in space.choices.items()
    }


def sample_by_rejection(
    space: SearchSpace, generator: torch.Generator, low: int, high: int, most: int
) -> tuple[dict[str, int] | None, int]:
    """(architecture of cost `low` to `high` or None, draws made): `sample_operations` up to `most` times."""
    for draws in range(1, most + 1):
        architecture = sample_operations(space, generator)
        if low <= space.cost(architecture) <= high:
            return architecture, draws
    return None, most
