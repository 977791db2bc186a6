"""What can be wrong with the judges: one value for everything, errors, an outage."""

import re
from collections.abc import Iterator

from oneloop.report.doctor.finding import Finding, Limits, Steps, percent, short

JUDGE = re.compile(r"rewards/(?P<judge>.+)/std")


def constant_judge(steps: Steps, limits: Limits) -> Iterator[Finding]:
    """A judge that has returned one value in the latest steps tells rollouts apart no better than none."""
    judges = {found["judge"] for row in steps.rows for name in row if (found := JUDGE.fullmatch(name))}
    for judge in sorted(judges):
        count, value = _unchanged(steps, judge)
        if count < limits.constant_steps:
            continue
        verdicts = sum(steps.tail(count).values("rollouts/judged"))
        times = f"{verdicts:.0f} times in a row" if verdicts else "for every rollout"
        yield Finding(
            "warn",
            f"constant_judge/{judge}",
            f"Your judge `{judge}` returned the same value, {short(value)}, {times} (the last {count} "
            "steps): nothing can be learned from it. Read a few rollouts in the report: if they differ in "
            "quality, the judge does not see it (check the answer column and the answer's format); if they "
            "do not, choose prompts nearer to what the policy can do.",
            steps.phase,
            float(count),
        )


def _unchanged(steps: Steps, judge: str) -> tuple[int, float]:
    """How many of the latest steps had standard deviation 0 around one same mean, and that mean."""
    value: float | None = None
    count = 0
    for row in reversed(steps.rows):
        mean, spread = row.get(f"rewards/{judge}/mean"), row.get(f"rewards/{judge}/std")
        if mean is None or spread is None or not spread <= 1e-12:
            break
        if value is not None and abs(mean - value) > 1e-12 * max(1.0, abs(value)):
            break
        value = float(mean)
        count += 1
    return count, 0.0 if value is None else value


def judge_errors(steps: Steps, limits: Limits) -> Iterator[Finding]:
    """Errors are verdicts that were never given. Many at once are an outage, never low scores."""
    errors = sum(steps.values("judge/errors"))
    if not errors:
        return
    outage = outage_length(steps, limits)
    if outage:
        failed = sum(steps.tail(outage).values("judge/errors"))
        yield Finding(
            "alarm" if outage >= limits.outage_steps else "warn",
            "judge_outage",
            f"Judges failed on {failed:.0f} rollouts in the last {outage} "
            f"{'step' if outage == 1 else 'steps'}, most of what was asked: this is an outage, not low "
            "scores, and what was sampled meanwhile cannot be learned from. Mend the judge (the report "
            "shows its words beside each rollout), then continue with `--resume`.",
            steps.phase,
            float(outage),
        )
        return
    judged = sum(steps.values("rollouts/judged"))
    share = errors / judged if judged else None
    of_all = f" ({percent(share)} of them)" if share is not None else ""
    yield Finding(
        "warn" if share is None or share >= limits.judge_errors else "note",
        "judge_errors",
        f"Judges failed on {errors:.0f} rollouts{of_all}. They count as no verdict, never as 0, and were "
        "handled as `on_error` says; the report shows what went wrong beside each rollout.",
        steps.phase,
        share if share is not None else errors,
    )


def outage_length(steps: Steps, limits: Limits) -> int:
    """How many of the latest steps in a row were outages."""
    count = 0
    for row in reversed(steps.rows):
        errors = row.get("judge/errors") or 0
        judged = row.get("rollouts/judged")
        out = errors >= limits.outage * judged if judged else row.get("rollouts/trained") == 0
        if not errors or not out:
            break
        count += 1
    return count


CHECKS = (constant_judge, judge_errors)
