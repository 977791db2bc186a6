"""Ways to draw an architecture of a cost: how far off it is, and draws for a hit in the rarest bin.

The generator is trained as the paper has it, masks of units weighing the supernet and one optimiser for both,
on budgets drawn uniformly; it is judged by its likeliest architecture for the middle of each bin.
"""

from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.claims.claim import Row
from benchmarks.claims.shiftnas.network import module, search_space
from benchmarks.claims.shiftnas.training import batches, bins, digits
from oneloop.models.supernet import mask
from oneloop.models.supernet.architecture_generator import ArchitectureGenerator
from oneloop.models.supernet.draws import sample_by_rejection

STEPS, WEIGHT, FIRST_TEMPERATURE, LAST_TEMPERATURE = 400, 10.0, 5.0, 0.5
MOST_DRAWS = 3000
"""Draws after which rejection gives a bin up."""


def samplers(seed: int) -> dict[str, Row]:
    """{way to draw: its columns}."""
    space, generator = search_space(), torch.Generator().manual_seed(seed)
    ranges = bins(space)
    rarest = min(range(len(ranges)), key=lambda place: space.count(*ranges[place]))

    def missed(costs: list[int]) -> float:
        """Mean relative distance of the costs [bins] from their bins."""
        away = [max(low - cost, cost - high, 0) for cost, (low, high) in zip(costs, ranges, strict=True)]
        return fmean(far / place.middle for far, place in zip(away, ranges, strict=True))

    exact = [space.cost(space.sample(generator, *place)) for place in ranges]
    tried = [sample_by_rejection(space, generator, *place, MOST_DRAWS) for place in ranges]
    learned = generator_for(seed)
    likeliest = [space.cost(learned.best(place.middle)) for place in ranges]
    hits = [low <= cost <= high for cost, (low, high) in zip(likeliest, ranges, strict=True)]
    return {
        "sampler: exact": {
            "budget missed": missed(exact),
            "bins hit": 1.0,
            "draws per hit, rarest bin": 1.0,
        },
        "sampler: rejection": {
            "budget missed": 0.0,
            "bins hit": fmean(found is not None for found, _ in tried),
            # by the counts, as a run of this length cannot see it
            "draws per hit, rarest bin": space.count() / space.count(*ranges[rarest]),
        },
        "sampler: generator": {
            "budget missed": missed(likeliest),
            "bins hit": fmean(hits),
            "rarest bin hit": float(hits[rarest]),
        },
    }


@torch.enable_grad()
def generator_for(seed: int) -> ArchitectureGenerator:
    """A generator trained with a supernet."""
    space, draw, feed = search_space(), torch.Generator().manual_seed(seed), batches(digits(seed), seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ArchitectureGenerator(space)
    supernet = module(seed)
    groups: list[dict[str, Any]] = [
        {"params": list(supernet.parameters()), "lr": 4e-3},
        {"params": list(made.parameters()), "lr": 1e-3},
    ]
    optimiser = torch.optim.Adam(groups)
    for step in range(STEPS):
        images, targets = next(feed)
        budget = space.minimum + (space.maximum - space.minimum) * float(torch.rand((), generator=draw))
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** (step / STEPS)
        policies = made(budget, temperature, draw)
        mask(supernet, made.masks(policies))
        optimiser.zero_grad()
        loss = F.cross_entropy(supernet(images), targets) + WEIGHT * made.resource_loss(policies, budget)
        loss.backward()
        optimiser.step()
    return made
