"""Held-out accuracy of a policy, greedy and sampled, with intervals."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from scipy.stats import norm

from oneloop import counter
from oneloop.judging import weight_of
from oneloop.part import declared
from oneloop.protocols import Data
from oneloop.rollouts import Actions, Rollouts

Judge = Callable[[Rollouts], Rollouts]


def scorers(judges: Sequence[Judge]) -> list[Judge]:
    """The judges that an evaluation needs: a critic of weight 0 costs, and has no part in the score."""
    return [judge for judge in judges if weight_of(judge) or "correct" in declared(judge, "writes")]


def evaluate(
    policy: Any, judge: Judge, data: Data, size: int, samples: int, seed: int, mode: str
) -> dict[str, Any]:
    """Accuracy on the first `size` rows of `data`: one greedy rollout each, or `samples` sampled ones.

    Gives accuracy (mean of `correct`, or of reward where no judge says correct), low, high (95 %), n, errors.
    Sampling noise is a function of (seed, row, sample), so two models meet the same draws.
    """
    asked = held_out(data, min(size, len(data)), 1 if mode == "greedy" else samples, seed)
    with policy.greedy() if mode == "greedy" else nullcontext():
        finished, _ = policy.sample(asked)
    judged = judge(finished)
    values = (judged.correct if "correct" in judged else judged.reward).double()
    rows = per_row(values, judged.key)
    accuracy, low, high = interval(rows)
    return {
        "mode": mode,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "n": len(rows),
        "samples": len(values),
        "reward": float(judged.reward.double().nanmean()),
        "errors": int(values.isnan().sum()),
    }


def held_out(data: Data, size: int, samples: int, seed: int) -> Rollouts:
    """Requests for `samples` rollouts of each of the first `size` rows."""
    keys = torch.arange(size).repeat_interleave(samples)
    rows = [data[key] for key in range(size)]
    columns: dict[str, Any] = {
        "id": torch.arange(len(keys)),
        "group": keys,
        "key": keys,
        "example": [rows[key] for key in keys.tolist()],
        "context": [((0, rows[key]["prompt"]),) for key in keys.tolist()],
        "budget": torch.full((len(keys),), -1),
        "last": torch.full((len(keys),), -1),
        "status": ["pending"] * len(keys),
    }
    facts = {"seed": int(counter.mix(seed, "evaluate") >> 1), "step": 0, "progress": 0.0}
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), facts)


def per_row(values: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Mean over each data row's verdicts; rows without any are left out."""
    known = ~values.isnan()
    sums = torch.zeros(int(keys.max()) + 1, dtype=torch.float64).index_add_(0, keys[known], values[known])
    counts = torch.bincount(keys[known], minlength=len(sums))
    return sums[counts > 0] / counts[counts > 0]


def interval(rows: torch.Tensor) -> tuple[float, float, float]:
    """(mean, low, high) at 95 %: Wilson for 0/1 rows, normal approximation over rows otherwise."""
    n = len(rows)
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    z, mean = float(norm.ppf(0.975)), float(rows.mean())
    if bool(((rows == 0) | (rows == 1)).all()):
        middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * (mean * (1 - mean) / n + z * z / (4 * n * n)) ** 0.5
        return mean, middle - half, middle + half
    half = z * float(rows.std()) / n**0.5 if n > 1 else float("nan")
    return mean, mean - half, mean + half
