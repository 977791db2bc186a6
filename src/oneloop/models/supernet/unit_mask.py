"""How a weighted choice becomes a mask of units, and what each unit then costs (ShiftNAS, equation 9).

    p' = M p     M [U, n] of 0 and 1, whose column j keeps the first c_j of U units

so p' does not rise along the units, and its sum is the expected number of units. The cost of p' is a sum
over *increments*, what each further unit costs; totals of candidates belong to p itself. Totals times p'
count double.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def unit_mask(weights: Tensor, values: Sequence[int]) -> Tensor:
    """p' [..., U] of `weights` p [..., n] of a choice with `values` c [n]; U is the largest of these."""
    units = torch.arange(max(values), device=weights.device)
    kept = units[:, None] < torch.tensor(values, device=weights.device)
    return weights @ kept.T.to(weights.dtype)


def unit_costs(values: Sequence[int], costs: Sequence[int]) -> tuple[float, Tensor]:
    """(what no unit costs, increments [U]) of a choice whose `values` cost `costs` in all.

    The units between two values share the difference of their costs, those up to the first value its cost,
    so that constant + sum of increments * p' is the sum of costs * p for any p.
    """
    before, spent, increments = 0, 0, torch.zeros(max(values), dtype=torch.float64)
    constant = costs[0] if values[0] == 0 else 0
    for value, cost in zip(values, costs, strict=True):
        if value > before:
            increments[before:value] = (cost - constant - spent) / (value - before)
        before, spent = value, cost - constant
    return float(constant), increments
