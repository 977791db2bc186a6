"""What a policy of several visual-token budgets scores and costs at each: one row a budget."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch

from oneloop.core.protocols import Data
from oneloop.run.evaluation import Judge, answered, measure


@dataclass(frozen=True)
class BudgetRow:
    """One budget."""

    count: int
    """Visual tokens of a picture."""
    score: float
    """Accuracy, or the mean reward where no judge says correct, of greedy answers."""
    low: float
    high: float
    """95 % interval of the score."""
    agreement: float
    """Share of the rows that are answered as with the largest number of tokens, word for word."""
    prefill_tokens: float
    """Mean tokens of a prompt, pictures included."""
    latency: float
    """Seconds of sampling over all rows, for one row."""
    memory: int | None
    """Most bytes of the GPU that were taken while sampling; None on a CPU, where nobody counts them."""


def token_sweep(
    policy: Any, judge: Judge, data: Data, counts: Sequence[int], size: int, seed: int = 0
) -> list[BudgetRow]:
    """A row for each of `counts`, over the first `size` rows of `data`; the policy is as it was afterwards.

    Raises ValueError for a policy whose model has one number of visual tokens only.
    """
    rows: list[BudgetRow] = []
    said: dict[int, list[str]] = {}
    for count in counts:
        with shown_by(policy, count):
            row, said[count] = _row(policy, judge, data, count, size, seed)
        rows.append(row)
    alike = {
        count: [a == b for a, b in zip(each, said[max(counts)], strict=True)] for count, each in said.items()
    }
    return [replace(row, agreement=sum(alike[row.count]) / len(alike[row.count])) for row in rows]


def smallest_alike(rows: Sequence[BudgetRow], tolerance: float) -> int:
    """The smallest number of tokens from which on all answer otherwise than the largest on a share of at most
    `tolerance` of the rows."""
    falling = sorted(rows, key=lambda row: -row.count)
    return list(takewhile(lambda row: row.agreement >= 1 - tolerance, falling))[-1].count


@contextmanager
def shown_by(policy: Any, count: int | None) -> Iterator[None]:
    """Pictures are shown by `count` visual tokens meanwhile; None: by as many as the policy's option says.

    Raises ValueError for a policy whose model has one number of visual tokens only.
    """
    if count is None:
        yield
        return
    prompts = getattr(policy, "prompts", None)
    if prompts is None or not hasattr(prompts, "count"):
        raise ValueError(
            f"{count} visual tokens were asked for, but the policy shows no pictures; it must be a "
            "vision_language policy"
        )
    prompts.options(count)  # refuses a model that takes one number only
    before, prompts.count = prompts.count, count
    try:
        yield
    finally:
        prompts.count = before


def _row(
    policy: Any, judge: Judge, data: Data, count: int, size: int, seed: int
) -> tuple[BudgetRow, list[str]]:
    """The row but for its agreement, and the answers."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []

    def judged(rollouts: Any) -> Any:
        seconds.append(time.perf_counter() - begun)  # judging is not the policy's latency
        return judge(rollouts)

    begun = time.perf_counter()
    rollouts = answered(policy, judged, data, size, 1, seed, "greedy")
    memory = torch.cuda.max_memory_allocated() if on_gpu else None
    found = measure(rollouts, "greedy")
    score, low, high = (
        ("accuracy", "low", "high") if "accuracy" in found else ("reward", "reward_low", "reward_high")
    )
    prefill = [len(policy.prompt_ids(rollouts, row)) for row in range(len(rollouts))]
    row = BudgetRow(
        count=count,
        score=found[score],
        low=found[low],
        high=found[high],
        agreement=1.0,
        prefill_tokens=sum(prefill) / len(prefill),
        latency=seconds[0] / len(rollouts),
        memory=memory,
    )
    return row, list(rollouts.text)
