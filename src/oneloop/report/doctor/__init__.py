"""The signal doctor: turns step metrics into sentences: what is wrong, how badly, which field mends it.

diagnose(steps)   everything worth saying about a finished (or running) list of steps
live(steps, said) the part of it worth interrupting a run for: what is new or has become worse
Watch             the same step by step, without looking at old steps again
fallen(before, after)   a phase that made held-out accuracy worse
An `alarm` means the run should stop: going on would train on wrong numbers or pay for nothing.
Pure functions of the metrics. Not here: stopping (the run loop), evaluating.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, overload

from oneloop.report.doctor import codebook, credit, judging, sampling, win_rates
from oneloop.report.doctor.finding import Finding, Steps, Thresholds, forecast
from oneloop.report.doctor.held_out import fallen

__all__ = ["Finding", "Thresholds", "Watch", "diagnose", "fallen", "forecast", "live"]

Check = Callable[[Steps, Thresholds], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    *(*sampling.CHECKS, *judging.CHECKS, *credit.CHECKS),
    *(*win_rates.CHECKS, *codebook.CHECKS),
)

ORDER = {"alarm": 0, "warn": 1, "note": 2}


def diagnose(steps: Sequence[Mapping[str, Any]], thresholds: Thresholds | None = None) -> list[Finding]:
    """Everything worth saying about `steps` (oldest first), worst first; phases are judged apart.

    Reads TRL's metric names plus ours; a metric that is missing or null silences only its checks.
    `phase`, where present, splits the list: entropy of a supervised phase says nothing about the next one.
    """
    thresholds = thresholds or Thresholds()
    findings: list[Finding] = []
    for phase, rows in groupby(steps, key=lambda row: str(row.get("phase", ""))):
        findings += _findings(Steps(tuple(rows), phase), thresholds)
    return sorted(findings, key=lambda finding: ORDER[finding.level])


def live(
    steps: Sequence[Mapping[str, Any]], said: Iterable[Finding] = (), thresholds: Thresholds | None = None
) -> list[Finding]:
    """Warnings and alarms of the current phase that are new, or worse than what was already `said`.

    Worse is a higher level, or `size` grown by `thresholds.worse`. The caller keeps what it has shown:
    `said += live(steps, said)`.
    """
    return Watch(steps, thresholds).news(said)


class Watch:
    """`live` after each of many `steps`, a list that its owner appends to; what it costs does not grow with
    the number of steps before."""

    def __init__(self, steps: Sequence[Mapping[str, Any]], thresholds: Thresholds | None = None):
        self._all, self._thresholds = steps, thresholds or Thresholds()
        self._steps = Steps(_Since(steps, 0))
        self._seen = 0

    def news(self, said: Iterable[Finding]) -> list[Finding]:
        """Warnings and alarms of the phase of the newest step that are new, or worse than what was `said`."""
        for place in range(self._seen, len(self._all)):
            if (phase := str(self._all[place].get("phase", ""))) != self._steps.phase:
                self._steps = Steps(_Since(self._all, place), phase)
        self._seen = len(self._all)
        findings = _findings(self._steps, self._thresholds) if len(self._steps) else []
        worst = _worst(said)
        return [
            finding
            for finding in findings
            if finding.level != "note" and _news(finding, worst.get(finding.key), self._thresholds)
        ]


class _Since(Sequence[Mapping[str, Any]]):
    """The rows of a growing list from place `start` on, without a copy of them."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], start: int):
        self._rows, self._start = rows, start

    def __len__(self) -> int:
        return len(self._rows) - self._start

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        places = range(self._start, len(self._rows))[index]
        return self._rows[places] if isinstance(places, int) else [self._rows[place] for place in places]


def _findings(steps: Steps, thresholds: Thresholds) -> list[Finding]:
    """What all checks say of one phase, worst first."""
    found = [finding for check in CHECKS for finding in check(steps, thresholds)]
    return sorted(found, key=lambda finding: ORDER[finding.level])


def _worst(said: Iterable[Finding]) -> dict[tuple[str, str], Finding]:
    """{key: the worst of the findings with that key}."""
    worst: dict[tuple[str, str], Finding] = {}
    for finding in said:
        before = worst.get(finding.key)
        if before is None or (-ORDER[finding.level], finding.size) > (-ORDER[before.level], before.size):
            worst[finding.key] = finding
    return worst


def _news(finding: Finding, before: Finding | None, thresholds: Thresholds) -> bool:
    if before is None or ORDER[finding.level] < ORDER[before.level]:
        return True
    return finding.level == before.level and finding.size > before.size * thresholds.worse
