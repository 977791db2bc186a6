"""Checks of the learning signal: equal rewards, steps that taught nothing, cut rollouts, the loss."""

from collections.abc import Iterator

from oneloop.report.doctor.finding import Finding, Row, Steps, Thresholds, forecast, percent, reading, short
from oneloop.report.doctor.judging import outage

CAUSES = ("completions/clipped_ratio", "correct", "frac_reward_zero_std", "reward", "group_size")
"""Metrics that tell why steps taught nothing."""


def no_signal(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Groups whose rollouts all earned the same reward, measured and forecast."""
    recent = steps.tail(thresholds.window)
    dead = recent.mean("frac_reward_zero_std", thresholds.least)
    if dead is None or dead < thresholds.no_signal_note or dead_length(steps) >= thresholds.dead_warn:
        return
    sentence = (
        f"{percent(dead)} of the groups of the last {len(recent)} steps carried no signal: all their "
        "rollouts earned the same reward, and what they cost taught nothing."
    )
    rate, size = recent.mean("correct"), recent.mean("group_size")
    expected = recent.mean("frac_zero_forecast")
    if rate is not None and size is not None and size >= 1 and 0 <= rate <= 1:
        pooled = forecast(rate, size)
        expected = pooled if expected is None else expected
        sentence += (
            f" At a pass rate of {percent(rate)} and {size:.0f} rollouts a group, p^G + (1-p)^G forecasts "
            f"{percent(expected)}."
        )
        sentence += (
            " Prompts differ much in difficulty: some are always solved and some never, and a larger group "
            "mends neither. Choose prompts between a pass rate of 20% and 80%."
            if dead - pooled > 0.2
            else f" With {2 * size:.0f} (`plan.count.uniform.n`) it is {percent(forecast(rate, 2 * size))}."
        )
    sentence += " `plan.keep: keep_mixed` samples on until enough groups carry signal."
    yield Finding(
        "warn" if dead >= thresholds.no_signal_warn else "note", "no_signal", sentence, steps.phase, dead
    )


def nothing_learned(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Steps in a row without any signal, with their cause."""
    count = dead_length(steps)
    if count < thresholds.dead_warn:
        return
    cause, remedy, stop = _why_dead(steps, thresholds)
    yield Finding(
        "alarm" if stop and count >= thresholds.dead_alarm else "warn",
        "nothing_learned",
        f"Nothing was learned in the last {count} steps because {cause}. {remedy}",
        steps.phase,
        float(count),
    )


def _why_dead(steps: Steps, thresholds: Thresholds) -> tuple[str, str, bool]:
    """(cause, remedy, whether it is a clean zero that should stop a long run)."""
    every = _dead_run(steps)[1]
    if outage(steps, thresholds)[0]:
        return "the judges failed on most rollouts", "Mend the judge, then continue with `--resume`.", False
    if not every["reward"] and steps.last("judge/errors") is not None:
        return (
            "no judge had a verdict on any rollout",
            "Where all judges return None there is nothing to compare: return a number for what can be "
            "scored, or add a judge for these rows.",
            True,
        )
    if every["group_size"] == {1.0} and every["frac_reward_zero_std"] == {1.0}:
        return (
            "every group has one rollout, which is compared with nobody",
            "Raise `plan.count.uniform.n` to two at least.",
            True,
        )
    if every["completions/clipped_ratio"] == {1.0}:
        return (
            "every rollout was cut at the length cap",
            "Raise `max_new_tokens`, or teach the answer's form first with a supervised phase.",
            True,
        )
    if every["correct"] == {0.0}:
        return (
            "no rollout was ever correct, so all rollouts of a group earned the same reward",
            "Choose easier prompts, warm the policy up with a supervised phase, or check in the report "
            "that the judge finds the answers.",
            True,
        )
    if every["correct"] == {1.0}:
        return (
            "every rollout was correct, so all rollouts of a group earned the same reward",
            "These prompts are solved: choose harder ones or stop here.",
            False,
        )
    if every["frac_reward_zero_std"] == {1.0}:
        return (
            "all rollouts of every group earned the same reward",
            "Raise `plan.count.uniform.n`, let samples differ more (`temperature` of a language policy, "
            "`level` of a flow policy), or choose prompts nearer a pass rate of 50%.",
            True,
        )
    return (
        "no rollout was left to train on after selection",
        "Every action was left out: loosen the `select` parts, such as `truncated` or `stale`.",
        True,
    )


def dead_length(steps: Steps) -> int:
    """How many of the latest steps in a row gave no rollout to learn from."""
    return _dead_run(steps)[0]


def _dead_run(steps: Steps) -> tuple[int, dict[str, set[float]]]:
    """(how many, {metric: the values that it had in them}) of the latest steps that taught nothing."""

    def add(run: tuple[int, dict[str, set[float]]], _: int, row: Row) -> tuple[int, dict[str, set[float]]]:
        if not _dead(row):
            return 0, {name: set() for name in CAUSES}
        count, seen = run
        for name in CAUSES:
            if (value := reading(row, name)) is not None and len(seen[name]) < 2:
                seen[name].add(value)
        return count + 1, seen

    return steps.fold("dead", lambda: (0, {name: set[float]() for name in CAUSES}), add)


def _dead(row: Row) -> bool:
    return bool(row.get("frac_reward_zero_std") == 1 or row.get("rollouts/trained") == 0)


def flat_loss(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Explains a loss near zero, which looks like a fault and is not."""
    recent = steps.tail(thresholds.window)
    losses = recent.values("loss")
    reward = recent.last("reward")
    ratio = recent.mean("ratio/mean")
    if len(losses) < thresholds.least or reward is None or dead_length(steps):
        return
    size = sum(map(abs, losses)) / len(losses)
    if size > thresholds.flat_loss or (ratio is not None and abs(ratio - 1) > 0.01):
        return
    sentence = (
        f"Loss stayed near 0 (mean size {short(size)}), and that is expected here: the ratio is 1 and "
        "advantages are centred, so the loss has a gradient but no value. Watch reward instead"
    )
    ends = steps.ends("reward", thresholds.window, thresholds.least)
    sentence += (
        f": it went from {short(ends[0])} to {short(ends[1])}." if ends else f" (now {short(reward)})."
    )
    yield Finding("note", "flat_loss", sentence, steps.phase, size)


def rising_loss(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Demonstrations that become less likely the longer they are learned from: the steps are too large."""
    ends = steps.ends("nll", thresholds.window, thresholds.least)
    if ends is None or steps.last("reward") is not None or ends[1] - ends[0] <= 2 * ends[2]:
        return
    start, end, _ = ends
    yield Finding(
        "warn",
        "rising_loss",
        f"The demonstrations became less likely: `nll` rose from {short(start)} to {short(end)} nats a token "
        f"between steps {steps.number(0)} and {steps.number(-1)}, so training diverges. Lower "
        "`learning_rate`, or begin with `learner.warmup`.",
        steps.phase,
        end / max(start, 1e-6),
    )


def cap_hits(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Rollouts cut at the length cap cannot show their answer."""
    recent = steps.tail(thresholds.window)
    share = recent.mean("completions/clipped_ratio", thresholds.least)
    if share is None or share < thresholds.cap_hits:
        return
    longest = recent.last("completions/max_length")
    cap = f" of {longest:.0f} tokens" if longest is not None else ""
    judged = any(recent.last(name) is not None for name in ("reward", "judge/errors"))  # no demonstrations
    what = "rollouts" if judged else "demonstrations"
    harm = (
        "so their reward judges the cap, not the answer. Raise `max_new_tokens`, or leave them out of the "
        "update with `select: [truncated]`."
        if judged
        else "so what is learned is never to end. Raise `max_new_tokens`, or give shorter demonstrations."
    )
    yield Finding(
        "warn",
        "cap_hits",
        f"{percent(share)} of the {what} of the last {len(recent)} steps were cut at the cap{cap} before "
        f"they could end, {harm}",
        steps.phase,
        share,
    )


CHECKS = (no_signal, nothing_learned, cap_hits, flat_loss, rising_loss)
