"""Arithmetic by label: the one place where group means, standardisation and path sums are computed.

    v values (rollouts, or actions)   labels int64 [v]: any integers, equal = same group

NaN is "no verdict": ignored in sums and means, and left NaN in results. GRPO labels rollouts by prompt,
CAPO labels tokens by prompt, BranchGRPO labels tree nodes by (tree, depth): one operator, other labels.
"""

from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor


def labels(*columns: Tensor) -> Tensor:
    """int64 [v], dense labels 0..k-1 of the distinct rows of integer `columns` (each [v])."""
    if len(columns) == 1:
        dense: Tensor = torch.unique(columns[0], return_inverse=True)[1]
    else:
        dense = torch.unique(torch.stack(columns, 1), dim=0, return_inverse=True)[1]
    return dense


def flat(values: Tensor, by: Tensor | None) -> tuple[Tensor, Tensor]:
    """([v] values, [v] labels) of `values` of any shape with labels `by` of that shape, or with none.

    Without labels every row of `values` [B, G] (or [B, ...]) is a group. Raises ValueError for flat values
    without labels, and for labels of another shape.
    """
    if by is None:
        if values.ndim < 2:
            raise ValueError(
                f"values of shape {tuple(values.shape)} need group labels of that shape; "
                "without labels give [B, G], one group a row"
            )
        rows = torch.arange(len(values), device=values.device)
        by = rows.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    elif by.shape != values.shape:
        raise ValueError(
            f"labels of shape {tuple(by.shape)} do not fit values of shape {tuple(values.shape)}"
        )
    return values.reshape(-1), by.reshape(-1)


def total(values: Tensor, by: Tensor) -> Tensor:
    """[v], the sum over each value's group, NaN left out."""
    dense = labels(by)
    sums = values.new_zeros(int(dense.max()) + 1 if len(dense) else 0)
    return sums.index_add_(0, dense, torch.nan_to_num(values))[dense]


def count(values: Tensor, by: Tensor) -> Tensor:
    """[v], how many values of each value's group are not NaN."""
    return total((~values.isnan()).to(values.dtype), by)


def mean(values: Tensor, by: Tensor) -> Tensor:
    """[v], the mean over each value's group, NaN left out; NaN where a group has no value at all."""
    return total(values, by) / count(values, by)


def extremes(values: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """([v], [v]), smallest and largest of each value's group, NaN left out."""
    dense = labels(by)
    size = int(dense.max()) + 1 if len(dense) else 0
    high = values.new_full((size,), -torch.inf)
    low = values.new_full((size,), torch.inf)
    high.scatter_reduce_(0, dense, values.nan_to_num(-torch.inf, -torch.inf, -torch.inf), "amax")
    low.scatter_reduce_(0, dense, values.nan_to_num(torch.inf, torch.inf, torch.inf), "amin")
    return low[dense], high[dense]


def constant(values: Tensor, by: Tensor, tolerance: float = 1e-12) -> Tensor:
    """bool [v], whether all values of the group are one value: largest - smallest <= tolerance * size.

    Never decided by a standard deviation: its rounding residue turns equal rewards into advantages
    in the hundreds. A group of one value, or of none, is constant.
    """
    low, high = extremes(values.double(), by)
    size = torch.maximum(low.abs(), high.abs())
    return ~(high - low > tolerance * size)


def centre(values: Tensor, by: Tensor, leave_one_out: bool = False) -> Tensor:
    """float64 [v], value minus the mean of its group (of the others: `leave_one_out`, RLOO).

    Exactly 0 in a constant group, and for a group's only value.
    """
    exact = values.double()
    centred = exact - mean(exact, by)
    if leave_one_out:
        size = count(exact, by)
        centred = centred * (size / (size - 1).clamp(min=1))
    return torch.where(constant(exact, by) & ~exact.isnan(), 0.0, centred)


def standardise(values: Tensor, by: Tensor, ddof: Literal[0, 1] = 1, eps: float = 0.0) -> Tensor:
    """float64 [v], (value - mean) / (std + eps) within each group, ddof 1 = unbiased std.

    Computed in float64; exactly 0 in a constant group and for a group's only value; NaN stays NaN.
    """
    centred = centre(values, by)
    spread = deviation(values, by, ddof)
    return torch.where(constant(values, by) & ~values.isnan(), 0.0, centred / (spread + eps))


def deviation(values: Tensor, by: Tensor, ddof: Literal[0, 1] = 1) -> Tensor:
    """float64 [v], the standard deviation of each value's group; 0 in a constant group."""
    exact = values.double()
    squares = centre(exact, by).square()
    freedom = (count(exact, by) - ddof).clamp(min=1)
    return (total(squares, by) / freedom).sqrt()


def path_total(values: Tensor, parent: Tensor) -> Tensor:
    """[N], the sum of `values` [N] from the start of the path down to and including each action.

    Pointer doubling over `parent` [N]: log2(deepest) passes.
    """
    sums, up = values.clone(), parent.clone()
    while bool((up >= 0).any()):
        has = (up >= 0).nonzero().squeeze(1)
        sums[has] = sums[has] + sums[up[has]]
        up[has] = up[up[has]]
    return sums


def max_variance_subset(values: Tensor, size: int) -> Tensor:
    """bool [v], the `size` values of largest variance: the lowest i and the highest size - i, best i.

    Exact (a variance-maximising subset is a prefix plus a suffix of the sorted values), O(v log v).
    Ties go to fewer low values, then to the earlier position. Raises ValueError unless 1 <= size <= v.
    """
    if not 1 <= size <= len(values):
        raise ValueError(f"a subset of {len(values)} values has 1 to {len(values)} of them, got size={size}")
    exact = values.double() - values.double().mean()
    exact = exact / exact.abs().max().clamp(min=torch.finfo(torch.float64).tiny)  # ties are told at any scale
    order = torch.argsort(exact, stable=True)
    ranked = exact[order].tolist()
    ones, squares = [0.0, *accumulate(ranked)], [0.0, *accumulate(x * x for x in ranked)]

    def variance(low: int) -> float:
        top = len(ranked) - (size - low)
        mean = (ones[low] + ones[-1] - ones[top]) / size
        return float((squares[low] + squares[-1] - squares[top]) / size - mean * mean)

    low = max(range(size + 1), key=lambda i: (round(variance(i), 12), -i))
    chosen = torch.zeros(len(values), dtype=torch.bool)
    chosen[order[:low]] = True
    downwards = torch.argsort(exact, descending=True, stable=True)
    chosen[downwards[~chosen[downwards]][: size - low]] = True
    return chosen
