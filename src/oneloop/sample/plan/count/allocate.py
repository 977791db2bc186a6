"""Give more rollouts to prompts with more uncertain rewards, in phases of a batch (XRPO's planner).

    h(n) = t_{1-alpha/2, n-1} * s / sqrt(n)                  half-width of the interval of a mean reward
    priority = h(n) - h(n+1)  +  weight * sqrt(log(1+T)/n)   what one more rollout promises, and a bonus

XRPO (arXiv 2510.06672): every prompt first gets `base` rollouts; each later phase hands an equal share of the
rest, one rollout at a time, to the largest priority. s (ddof 1) stands still inside a phase, n counts up.
With T frozen the priority falls as n grows, so greedy takes the largest of all marginal values: it is exact.
`Uniform` is the limit of a large bonus. Left out: statistics kept from step to step, a choice of prompts.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from scipy.stats import t as student
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.rollouts import Table

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]
Bonus = Literal["sqrt", "linear"]
TIE = 12
"""Priorities that agree to so many decimals are a tie: rounding must not decide who gets a rollout."""


@cache
def _factors(largest: int, alpha: float) -> Numbers:
    """[largest + 1], half-width per standard deviation at each n; infinite below 2, where there is no s."""
    n = np.arange(2, largest + 1)
    known = student.ppf(1 - alpha / 2, n - 1) / np.sqrt(n)
    return np.concatenate([[math.inf, math.inf], known])


def half_width(std: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> Numbers:
    """Half of Student's 1 - `alpha` interval of a mean of `n` >= 2 rewards of deviation `std` (ddof 1)."""
    size = np.asarray(n)
    return cast(
        Numbers, np.asarray(std, dtype=np.float64) * _factors(_rounded(int(size.max(initial=2))), alpha)[size]
    )


def uncertainty_reduction(std: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> Numbers:
    """How much one more rollout narrows the half-width, `std` held: >= 0, and 0 exactly where `std` is 0."""
    return half_width(std, n, alpha) - half_width(std, np.asarray(n) + 1, alpha)


def exploration_bonus(n: ArrayLike, total: float, weight: float, form: Bonus = "sqrt") -> Numbers:
    """`weight` * sqrt(log(1 + total) / n), or without the root (`linear`)."""
    inside = math.log1p(total) / np.asarray(n, dtype=np.float64)
    return weight * (np.sqrt(inside) if form == "sqrt" else inside)


def _rounded(largest: int) -> int:
    """Tables come in few sizes, so that they are computed once."""
    return 1 << (largest + 1).bit_length()


def allocate(
    n: Sequence[int] | Counts,
    std: Sequence[float] | Numbers,
    budget: int,
    *,
    alpha: float = 0.05,
    weight: float = 0.05,
    form: Bonus = "sqrt",
    total: int | None = None,
    counted: bool = True,
    least: int = 2,
    most: int | None = None,
    issued: Sequence[int] | Counts | None = None,
) -> Counts:
    """int64 [B], rollouts added to prompts with `n` [B] verdicts of deviations `std` [B]: `budget` in all.

    `issued` [B] are the rollouts that the prompts have had, judged or not (default: `n`); `least` and `most`
    bound these, and prompts below `least` come first. Ties go to the smaller n, then to the earlier prompt.
    `total` is T (default: the sum of `n`), which grows with every hand-out if `counted`. Raises ValueError
    for a prompt with fewer than 2 verdicts, a deviation that is no number, and a budget that `least` or
    `most` cannot meet.

    >>> allocate([4, 4], [0.5, 0.0], 3, weight=0.0).tolist()
    [3, 0]
    """
    count, spread = np.array(n, dtype=np.int64), np.asarray(std, dtype=np.float64)
    had = count if issued is None else np.array(issued, dtype=np.int64)
    room = _room(count, had, spread, budget, least, most)
    added, now = np.zeros_like(count), int(count.sum()) if total is None else total
    gain = _gains(int(count.max(initial=2)) + budget, alpha)
    for _ in range(budget):
        bonus = exploration_bonus(count + added, now, weight, form)
        priority = np.round(spread * gain[count + added] + bonus, TIE)
        short = had + added < least
        priority = np.where(short, math.inf, np.where(had + added < room, priority, -math.inf))
        added[np.lexsort((count + added, -priority))[0]] += 1
        now += counted
    return added


@cache
def _table_of_gains(largest: int, alpha: float) -> Numbers:
    factors = _factors(largest + 1, alpha)
    return np.concatenate([[0.0, 0.0], factors[2:-1] - factors[3:]])


def _gains(largest: int, alpha: float) -> Numbers:
    """[> largest], the uncertainty reduction per standard deviation at each n >= 2."""
    return _table_of_gains(_rounded(largest), alpha)


def _room(count: Counts, had: Counts, spread: Numbers, budget: int, least: int, most: int | None) -> Numbers:
    """[B], up to how many rollouts each prompt may have; raises what `allocate` says."""
    if len(count) and count.min() < 2:
        raise ValueError(f"a prompt needs 2 rollouts before it has a deviation, got n={count.min()}")
    if not np.isfinite(spread).all() or (spread < 0).any():
        wrong = int(np.flatnonzero(~np.isfinite(spread) | (spread < 0))[0])
        raise ValueError(
            f"prompt {wrong}: the deviation of its rewards is {spread[wrong]}, not a number >= 0"
        )
    needed = int(np.maximum(least - had, 0).sum())
    if not needed <= budget:
        raise ValueError(f"budget={budget} cannot bring every prompt to {least} rollouts; smallest: {needed}")
    room = np.full(len(had), math.inf if most is None else most)
    if budget > np.maximum(room - had, 0).sum():
        free = int(np.maximum(room - had, 0).sum()) if len(count) else 0
        raise ValueError(
            f"budget={budget} does not fit: {len(had)} prompts of at most {most} can take {free}"
        )
    return room


@part(paper="arXiv 2510.06672")
class Allocate:
    """`mean_budget` rollouts a prompt on average; groups end with different sizes.

    All groups idle at one time form one pool: each brings the share of its next phase, and the pool is
    handed out over all of them. Without over-provisioning that is the whole batch, phase by phase. With
    `in_flight` above `groups` groups become idle at different times; then each passes a phase whenever it is
    idle, in competition with whoever else is, so the mean stays and only the competition is smaller.
    """

    phases: Annotated[int, Field(ge=2)] = 3
    """Rounds of sampling in a batch, the first (uniform) one included."""
    base: Annotated[int, Field(ge=2)] = 8
    """Rollouts of every prompt in the first phase; with fewer than 4 an interval is too wide to be useful."""
    mean_budget: Annotated[int, Field(ge=2)] = 16
    """Rollouts a prompt gets on average."""
    exploration: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the exploration bonus. 0: no more rollouts where rewards are equal; from 0.2: nearly
    uniform."""
    bonus: Bonus = "sqrt"
    """Form of the bonus: sqrt(log(1+T)/n), or linear: log(1+T)/n."""
    total: Literal["counted", "frozen"] = "counted"
    """Whether T, the verdicts so far on the prompts of the pool, counts up inside a phase."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """1 minus the confidence level of the interval."""
    min_per_prompt: Annotated[int, Field(ge=2)] = 2
    """Fewest rollouts of a prompt; above `base`, prompts that all failed get more, whatever the bonus."""
    max_per_prompt: Annotated[int, Field(ge=2)] | None = None
    """Most rollouts of a prompt; None: no bound."""
    solved_reward: float | None = None
    """Prompts whose rewards are all at least this get no more rollouts; None: no such rule."""

    @model_validator(mode="after")
    def _feasible(self) -> Self:
        if self.mean_budget < self.base:
            raise ValueError(
                f"mean_budget is {self.mean_budget}, but the first phase alone takes base = {self.base}; "
                f"smallest feasible: {self.base}"
            )
        second = self.base + self._share(1)
        if self.min_per_prompt > second:
            raise ValueError(
                f"min_per_prompt must be at most {second}, what base and the second phase pay for, "
                f"got {self.min_per_prompt}"
            )
        if self.max_per_prompt is not None and self.max_per_prompt < self.mean_budget:
            raise ValueError(
                f"max_per_prompt must be at least mean_budget = {self.mean_budget}, got {self.max_per_prompt}"
            )
        return self

    @property
    def rounds(self) -> int:
        """Number of times a group gets rollouts before it is complete."""
        return self.phases

    @property
    def n(self) -> int:
        """Rollouts a group has on average."""
        return self.mean_budget

    def _share(self, phase: int) -> int:
        """Rollouts that each group adds to the pool of `phase` (0: the first), a whole number."""
        rest, later = self.mean_budget - self.base, self.phases - 1
        return self.base if phase == 0 else rest * phase // later - rest * (phase - 1) // later

    def more(self, groups: Table) -> Tensor:
        """int64 [G], rollouts for each idle group; -1: none in this phase, but it competes in the next.

        Raises ValueError for infinite rewards, naming the group.
        """
        phase = groups["round"].numpy()
        added = np.where(phase == 0, self.base, 0).astype(np.int64)
        later = phase > 0
        if later.any():
            added[later] = self._handed_out(groups, later)
        waits = (added == 0) & (phase + 1 < self.phases)
        return torch.from_numpy(np.where(waits, -1, added))

    def _handed_out(self, groups: Table, later: NDArray[np.bool_]) -> Counts:
        names = ("issued", "verdicts", "mean", "std")
        issued, verdicts, mean, std = (groups[name].numpy()[later] for name in names)
        if np.isinf(mean).any():
            number = int(groups["group"].numpy()[later][np.isinf(mean)][0])
            raise ValueError(f"allocate: rewards must be finite or NaN; group {number} has infinite ones")
        # fewer than two verdicts: nothing is known, which is no reason to ask more
        std, known = np.nan_to_num(std), np.maximum(verdicts, 2)
        pool = sum(self._share(int(phase)) for phase in groups["round"].numpy()[later])
        open_ = np.full(len(issued), True)
        if self.solved_reward is not None:
            open_ = ~((mean >= self.solved_reward) & (std <= 1e-9))
        most = self.max_per_prompt
        if most is not None:
            pool = min(pool, int(np.maximum(most - issued[open_], 0).sum()))
        added = np.zeros(len(issued), dtype=np.int64)
        if not open_.any():
            return added
        added[open_] = allocate(
            known[open_],
            std[open_],
            pool,
            alpha=self.alpha,
            weight=self.exploration,
            form=self.bonus,
            total=int(verdicts.sum()),
            counted=self.total == "counted",
            least=self.min_per_prompt,
            most=most,
            issued=issued[open_],
        )
        return added
