"""Whether a phase made held-out scores worse: compares evaluations before and after it, of one mode."""

from collections.abc import Mapping
from typing import Any

from oneloop.measure.statistics.scores import interval, written
from oneloop.report.doctor.finding import Finding, percent


def fallen(before: Mapping[str, Any], after: Mapping[str, Any]) -> Finding | None:
    """A warning where a score `after` lies below that `before` and the 95 % intervals stand apart.

    The score is accuracy where both have it, else mean reward.
    """
    measure = "accuracy" if "accuracy" in before and "accuracy" in after else "reward"
    earlier, later = interval(before, measure), interval(after, measure)
    if earlier is None or later is None or not later[1] < earlier[0]:
        return None
    start, end = (
        percent(line[measure]) if measure == "accuracy" else written(line[measure], measure)
        for line in (before, after)
    )
    return Finding(
        "warn",
        f"held_out_{after['mode']}",
        f"Held-out {measure}, {after['mode']}, fell from {start} to {end} in this phase, and the intervals "
        "stand apart: the policy unlearns more than it gains. Usual reasons: `learner.learning_rate` is too "
        "high, or the policy was too weak when the phase began. Halve the rate, warm up for longer, or hold "
        "the policy near its start with the objective `kl`.",
        after["phase"],
        before[measure] - after[measure],
    )
