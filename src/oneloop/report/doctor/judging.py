"""Checks of the judges: the same value for everything, errors, an outage."""

import re
from collections.abc import Iterator

from oneloop.report.doctor.finding import Finding, Row, Steps, Thresholds, percent, reading, short

Runs = list[tuple[float, int, float]]
"""(mean, steps in a row that had it, rollouts judged in them)."""
JUDGE = re.compile(r"rewards/(?P<judge>.+)/std")


def constant_judge(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """A judge that has returned one value in the latest steps tells rollouts apart no better than none."""
    for judge, runs in sorted(steps.fold("constant", dict[str, Runs], _constant_since).items()):
        count, value, verdicts = _unchanged(runs)
        if count < thresholds.constant_steps:
            continue
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


def _constant_since(judges: dict[str, Runs], _: int, row: Row) -> dict[str, Runs]:
    """{judge: runs of equal means in the latest steps in which its standard deviation was 0}."""
    for name in row:
        if found := JUDGE.fullmatch(name):
            judges.setdefault(found["judge"], [])
    for judge, runs in judges.items():
        mean, spread = row.get(f"rewards/{judge}/mean"), row.get(f"rewards/{judge}/std")
        if mean is None or spread is None or not spread <= 1e-12:
            runs.clear()
            continue
        count, judged = runs.pop()[1:] if runs and runs[-1][0] == mean else (0, 0.0)
        runs.append((float(mean), count + 1, judged + (reading(row, "rollouts/judged") or 0.0)))
    return judges


def _unchanged(runs: Runs) -> tuple[int, float, float]:
    """(how many of the latest steps had one same mean, that mean, rollouts judged in them)."""
    value, steps, verdicts = 0.0, 0, 0.0
    for mean, count, judged in reversed(runs):
        if steps and abs(mean - value) > 1e-12 * max(1.0, abs(value)):
            break
        value, steps, verdicts = mean, steps + count, verdicts + judged
    return steps, value, verdicts


def judge_errors(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Errors are verdicts that were never given. Many at once are an outage, never low scores."""
    errors = steps.total("judge/errors")
    if not errors:
        return
    length, failed = outage(steps, thresholds)
    if length:
        yield Finding(
            "alarm" if length >= thresholds.outage_steps else "warn",
            "judge_outage",
            f"Judges failed on {failed:.0f} rollouts in the last {length} "
            f"{'step' if length == 1 else 'steps'}, most of what was asked: this is an outage, not low "
            "scores, and what was sampled meanwhile cannot be learned from. Mend the judge (the report "
            "shows its words beside each rollout), then continue with `--resume`.",
            steps.phase,
            float(length),
        )
        return
    judged = steps.total("rollouts/judged")
    share = errors / judged if judged else None
    of_all = f" ({percent(share)} of them)" if share is not None else ""
    yield Finding(
        "warn" if share is None or share >= thresholds.judge_errors else "note",
        "judge_errors",
        f"Judges failed on {errors:.0f} rollouts{of_all}. They count as no verdict, never as 0, and were "
        "handled as `on_error` says; the report shows what went wrong beside each rollout.",
        steps.phase,
        share if share is not None else errors,
    )


def outage(steps: Steps, thresholds: Thresholds) -> tuple[int, float]:
    """(how many of the latest steps in a row were outages, rollouts judges failed on in them)."""

    def add(run: tuple[int, float], _: int, row: Row) -> tuple[int, float]:
        errors, judged = reading(row, "judge/errors") or 0.0, row.get("rollouts/judged")
        out = errors >= thresholds.outage * judged if judged else row.get("rollouts/trained") == 0
        return (run[0] + 1, run[1] + errors) if errors and out else (0, 0.0)

    return steps.fold(("outage", thresholds), lambda: (0, 0.0), add)


CHECKS = (constant_judge, judge_errors)
