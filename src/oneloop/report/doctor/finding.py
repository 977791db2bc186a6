"""Findings of the signal doctor, their thresholds, and access to step metrics."""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Row = Mapping[str, Any]
Level = Literal["note", "warn", "alarm"]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of the signal doctor. Shares are 0..1, gaps and entropies nats a token."""

    window: int = 10
    """Steps over which rates are averaged."""
    least: int = 3
    """Steps needed before a rate means anything; alarms on single steps do not wait."""
    worse: float = 1.5
    """A finding is repeated when its size has grown by this factor."""
    no_signal_note: float = 0.2
    """Share of groups with equal rewards from which there is a note."""
    no_signal_warn: float = 0.5
    """Share of groups with equal rewards from which there is a warning."""
    effective_sample: float = 0.5
    """Effective sample size, as a share of the kept rollouts, below which importance weights hurt."""
    gap_note: float = 0.005
    """Mean |sampled - trained log-prob| up to which nothing is said (verl's rule of thumb).
    Set 1e-5 for our own engine in fp32 on a CPU, where the gap is zero."""
    gap_warn: float = 0.01
    """Mean log-prob gap above which there is a warning (verl's rule of thumb)."""
    gap_alarm: float = 0.05
    """Mean log-prob gap above which the run stops: bf16 rounding cannot explain it."""
    gap_of_clip: float = 0.1
    """Mean gap on fresh samples, as a share of the clip range, up to which ratios are precise enough."""
    ratio_low: float = 0.5
    """Mean ratio on fresh samples below which the sampler cannot hold the trained weights."""
    ratio_high: float = 2.0
    """Mean ratio on fresh samples above which the sampler cannot hold the trained weights."""
    fresh: float = 1e-9
    """Mean staleness (weight versions) up to which samples count as fresh."""
    cap_hits: float = 0.2
    """Share of rollouts cut at the length limit from which there is a finding."""
    entropy_fall: float = 0.3
    """Entropy at the end over entropy at the start of a phase."""
    constant_steps: int = 4
    """Steps in a row in which a judge returned one value."""
    judge_errors: float = 0.01
    """Share of failed verdicts that deserves a warning; below it, a note."""
    outage: float = 0.5
    """Share of failed verdicts in one step that counts as an outage of the judge."""
    outage_steps: int = 3
    """Outage steps in a row that stop the run."""
    dead_warn: int = 3
    """Steps in a row that taught nothing: warn."""
    dead_alarm: int = 30
    """Steps in a row that taught nothing: stop, unless the prompts are solved or the judge is at fault."""
    flat_loss: float = 0.01
    """Mean |loss| below which a note explains why the loss is near zero."""
    stale: float = 2.0
    """Mean age of trained tokens, in weight versions."""
    carried: float = 0.25
    """Share of trained tokens from older weights from which a missing correction is mentioned."""
    hacking_warn: float = 0.1
    """A learned judge's win-rate less a held-out judge's, on the same images, from which there is a
    warning."""
    hacking_alarm: float = 0.25
    """The same difference from which the run stops: the judge no longer measures what was wanted."""
    codes_in_use: float = 0.05
    """Perplexity of an image tokenizer's codes, as a share of its codebook, below which it has collapsed."""
    discarded: float = 0.1
    """Tokens that restarts threw away, over tokens trained."""


@dataclass(frozen=True)
class Finding:
    """One thing the doctor says. `size` grows with the trouble, so that `live` can tell worse from same."""

    level: Level
    name: str
    sentence: str
    phase: str = ""
    size: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """Identity of a finding across steps: findings with equal keys are the same one."""
        return self.phase, self.name


@dataclass(frozen=True)
class Steps:
    """Step metrics of one phase, oldest first. Readings that are missing, null or not finite are skipped."""

    rows: Sequence[Row]
    phase: str = ""
    _folds: dict[Hashable, tuple[int, Any]] = field(default_factory=dict, repr=False, compare=False)

    def fold(self, name: Hashable, start: Callable[[], T], add: Callable[[T, int, Row], T]) -> T:
        """`add(state, row index, row)` over all rows, from `start()`.

        It is remembered by `name`: of a list of rows that grows, only the new ones are looked at.
        """
        done, found = self._folds.get(name, (0, None))
        state: T = found if done else start()
        for index in range(done, len(self.rows)):
            state = add(state, index, self.rows[index])
        self._folds[name] = len(self.rows), state
        return state

    def __len__(self) -> int:
        return len(self.rows)

    def number(self, index: int) -> int:
        """The global step number of a row; its place in the list where no `step` was written."""
        return int(self.rows[index].get("step", index % len(self.rows) + 1))

    def tail(self, count: int) -> "Steps":
        """The last `count` steps."""
        return Steps(self.rows[-count:], self.phase)

    def readings(self, name: str) -> Iterator[tuple[int, float]]:
        """(row index, value) wherever `name` was measured."""
        for index, row in enumerate(self.rows):
            if (value := reading(row, name)) is not None:
                yield index, value

    def values(self, name: str) -> list[float]:
        """Every finite reading of `name`."""
        return [value for _, value in self.readings(name)]

    def mean(self, name: str, least: int = 1) -> float | None:
        """Mean of `name`, or None where fewer than `least` steps measured it."""
        values = self.values(name)
        return sum(values) / len(values) if len(values) >= least else None

    def last(self, name: str) -> float | None:
        """The latest finite reading of `name`."""

        def add(latest: float | None, _: int, row: Row) -> float | None:
            return latest if (value := reading(row, name)) is None else value

        return self.fold(("last", name), lambda: None, add)

    def total(self, name: str) -> float:
        """Sum of all readings of `name`, which is a count."""
        return self.fold(("total", name), float, lambda sum, _, row: sum + (reading(row, name) or 0.0))

    def first(self, name: str, holds: Callable[[int, Row], bool]) -> int | None:
        """Index of the first row where `holds(index, row)`; `name` stands for the condition."""

        def add(found: int | None, index: int, row: Row) -> int | None:
            return index if found is None and holds(index, row) else found

        return self.fold(("first", name), lambda: None, add)

    def ends(self, name: str, window: int, least: int) -> tuple[float, float, float] | None:
        """(mean at the start, at the end, standard error of the difference); the windows never meet."""

        def add(ends: tuple[int, list[float], deque[float]], _: int, row: Row) -> Any:
            count, first, last = ends
            if (value := reading(row, name)) is None:
                return ends
            last.append(value)
            return count + 1, [*first, value] if count < window else first, last

        count, starts, latest = self.fold(("ends", name, window), lambda: (0, [], deque(maxlen=window)), add)
        width = min(window, count // 2)
        if width < least:
            return None
        first, last = starts[:width], list(latest)[-width:]
        error = math.sqrt((_variance(first) + _variance(last)) / width)
        return sum(first) / width, sum(last) / width, error


def reading(row: Row, name: str) -> float | None:
    """The finite value of `name` in a row; None where it was not measured."""
    value = row.get(name)
    return float(value) if value is not None and math.isfinite(value) else None


def _variance(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)


def forecast(pass_rate: float, size: float) -> float:
    """Chance that all `size` rollouts of a prompt get the same binary reward: p^G + (1-p)^G."""
    if not 0 <= pass_rate <= 1:
        raise ValueError(f"pass_rate must lie in [0, 1], got {pass_rate}")
    if size < 1:
        raise ValueError(f"size must be at least 1 rollout a group, got {size}")
    return float(pass_rate**size + (1 - pass_rate) ** size)


def percent(share: float) -> str:
    """A share as a percentage; one decimal only where whole numbers would hide it (0.4%, 99.6%)."""
    shown = 100 * share
    if 0 < shown < 0.05:
        return "under 0.1%"
    return f"{shown:.1f}%" if (0 < shown < 1 or 99 < shown < 100) else f"{shown:.0f}%"


def short(value: float) -> str:
    """A number with three significant digits, and 0.5 rather than 0.500."""
    return f"{value:.3g}"
