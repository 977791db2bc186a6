"""The best value of an arm, on seeds that are not reported; grids grow until the best lies inside."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.claims.claim import Arm

SEEDS = (1000, 1001, 1002)
"""Seeds on which values are chosen; reported seeds count from 0."""
GROWTHS = 4
"""How often a grid grows at one end before its edge is taken as it is."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for an arm, and why."""

    arm: str
    tried: Mapping[float, float]
    """{value: mean score over the tuning seeds}, ascending."""
    chosen: float
    """The value with the best score; of equals, the one in the middle."""
    interior: bool
    """Whether smaller and larger values were tried, or the value is at a bound of what makes sense."""


Tried = Callable[[Iterable[tuple[str, float, int]]], Mapping[tuple[str, float, int], float]]
"""Scores of (arm, value, seed); runs those that are missing."""


def choose(arms: Iterable[Arm], score: Tried) -> dict[str, Choice]:
    """The best value of every arm that has a grid; all arms' values of a round are asked for at once."""
    grids = {arm.name: sorted(arm.grid) for arm in arms if arm.grid}
    bounds = {arm.name: arm.bounds for arm in arms}
    for _ in range(GROWTHS + 1):
        asked = [(arm, value, seed) for arm, grid in grids.items() for value in grid for seed in SEEDS]
        scores = score(asked)
        found = {arm: _best(arm, grid, scores, bounds[arm]) for arm, grid in grids.items()}
        grown = {arm: _grown(grids[arm], choice, bounds[arm]) for arm, choice in found.items()}
        if grown == grids:
            return found
        grids = grown
    return found


def _best(
    arm: str, grid: list[float], scores: Mapping[tuple[str, float, int], float], bounds: tuple[float, float]
) -> Choice:
    tried = {value: statistics.fmean(scores[arm, value, seed] for seed in SEEDS) for value in grid}
    top = max(tried.values())
    equals = [value for value, mean in tried.items() if mean == top]
    chosen = equals[(len(equals) - 1) // 2]
    low, high = bounds
    inside = (chosen > grid[0] or chosen <= low) and (chosen < grid[-1] or chosen >= high)
    return Choice(arm, tried, chosen, inside)


def _grown(grid: list[float], choice: Choice, bounds: tuple[float, float]) -> list[float]:
    """The grid with one value more at the end where the best lies; as it is when the best lies inside."""
    if choice.interior:
        return grid
    if choice.chosen == grid[0]:
        return [max(bounds[0], grid[0] ** 2 / grid[1]), *grid]
    return [*grid, min(bounds[1], grid[-1] ** 2 / grid[-2])]
