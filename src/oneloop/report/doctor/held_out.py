"""Has a phase made the policy worse at what it is held to? Evaluations before and after, of one mode."""

from collections.abc import Mapping
from typing import Any

from oneloop.report.doctor.finding import Finding, percent


def fallen(before: Mapping[str, Any], after: Mapping[str, Any]) -> Finding | None:
    """A warning where accuracy `after` lies below that `before` and the 95 % intervals stand apart."""
    if not after["high"] < before["low"]:
        return None
    return Finding(
        "warn",
        f"held_out_{after['mode']}",
        f"Held-out accuracy, {after['mode']}, fell from {percent(before['accuracy'])} to "
        f"{percent(after['accuracy'])} in this phase, and the intervals stand apart: the policy unlearns "
        "more than it gains. Usual reasons: `learner.learning_rate` is too high, or the policy was too weak "
        "when the phase began. Halve the rate, warm up for longer, or hold the policy near its start with "
        "the objective `kl`.",
        after["phase"],
        before["accuracy"] - after["accuracy"],
    )
