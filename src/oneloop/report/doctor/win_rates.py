"""Whether the policy exploits a learned judge: its verdicts against a held-out judge's, on the same
images.
"""

from collections.abc import Iterator

from oneloop.report.doctor.finding import Finding, Level, Steps, Thresholds, percent


def hacking_gap(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """A learned judge that says the policy wins where the truth says it does not."""
    recent = steps.tail(thresholds.window)
    gap = recent.mean("hacking_gap", thresholds.least)
    if gap is None or gap < thresholds.hacking_warn:
        return
    level: Level = "alarm" if gap >= thresholds.hacking_alarm else "warn"
    worst = recent.mean("hacking_gap/worst", thresholds.least)
    where = f" (worst by one criterion: {percent(worst)})" if worst is not None else ""
    yield Finding(
        level,
        "hacking_gap",
        f"The learned judge's win-rate is {percent(gap)} above that of the held-out measure on "
        "the same images of "
        f"the last {len(recent)} steps{where}: the policy has learned to please the judge and not "
        "to do better. "
        "Go back to an earlier checkpoint; train the judge anew on images of this policy, lower "
        "`reward_backprop.bound` or `learning_rate`, or stop earlier.",
        steps.phase,
        gap,
    )


def unwatched(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """A learned judge without a held-out judge to check it."""
    recent = steps.tail(thresholds.window)
    said = any(name.startswith("win_rate/") for row in recent.rows for name in row)
    if len(recent) < thresholds.least or not said or recent.values("hacking_gap"):
        return
    held = steps.first("held", lambda _, row: any(name.startswith("hacking_gap") for name in row))
    if held is None and recent.values("hinge/closed_ratio"):
        yield Finding(
            "warn",
            "unwatched_judge",
            "The policy is trained through a judge, and nothing is held out to tell whether it is "
            "being fooled. "
            "Add a judge that is not learned from: `preference` with `held_out: true`, or `win_rate` "
            "around any "
            "judge of single images.",
            steps.phase,
            1.0,
        )


CHECKS = (hacking_gap, unwatched)
