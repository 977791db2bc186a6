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
from typing import Any

from oneloop.core.lines import Lines
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
    """`live` after each of many steps; what it costs does not grow with the number of steps before.

    `steps` were made earlier.
    """

    def __init__(self, steps: Iterable[Mapping[str, Any]] = (), thresholds: Thresholds | None = None):
        self._thresholds, self._rows = thresholds or Thresholds(), Lines()
        self._steps = Steps(self._rows)
        for row in steps:
            self._add(row)

    def after(self, row: Mapping[str, Any], said: Iterable[Finding]) -> list[Finding]:
        """What `live` says of all steps up to `row`, the newest."""
        self._add(row)
        return self.news(said)

    def _add(self, row: Mapping[str, Any]) -> None:
        if (phase := str(row.get("phase", ""))) != self._steps.phase:
            self._rows = Lines()
            self._steps = Steps(self._rows, phase)
        self._rows.append(row)

    def news(self, said: Iterable[Finding]) -> list[Finding]:
        """Warnings and alarms that are new, or worse than what was `said`."""
        findings = _findings(self._steps, self._thresholds) if self._rows else []
        worst = _worst(said)
        return [
            finding
            for finding in findings
            if finding.level != "note" and _news(finding, worst.get(finding.key), self._thresholds)
        ]


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
