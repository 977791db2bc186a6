"""Checks of the samples: log-prob gap, ratio, age, entropy."""

import math
from collections.abc import Iterator

from oneloop.report.doctor.finding import Finding, Level, Row, Steps, Thresholds, percent, reading, short

MUST_BE_FINITE = ("loss", "grad_norm", "ratio/mean", "kl", "entropy", "sampling/logprob_gap_mean")


def not_finite(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """NaN or infinity in a number the update depends on. Steps that trained nothing are exempt."""
    index = steps.first("not finite", lambda _, row: bool(_not_finite(row)))
    if index is None:
        return
    row, names = steps.rows[index], _not_finite(steps.rows[index])
    yield Finding(
        "alarm",
        "not_finite",
        f"{', '.join(f'`{name}`' for name in names)} became {row[names[0]]} at step "
        f"{steps.number(index)}: every weight touched by that update is lost. Resume from the "
        "checkpoint before it with a lower `learning_rate` or `max_grad_norm`, and look for "
        "rollouts with infinite log-probs in that step.",
        steps.phase,
        1.0,
    )


def _not_finite(row: Row) -> list[str]:
    if row.get("rollouts/trained") == 0:
        return []
    return [name for name in MUST_BE_FINITE if row.get(name) is not None and not math.isfinite(row[name])]


def logprob_gap(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Sampler and learner must give the same log-prob to the same token under the same weights."""
    name = "sampling/logprob_gap_mean"

    def larger(largest: tuple[int, float] | None, index: int, row: Row) -> tuple[int, float] | None:
        gap = reading(row, name)
        return largest if gap is None or (largest is not None and gap <= largest[1]) else (index, gap)

    found = steps.fold("largest gap", lambda: None, larger)
    if found is None:
        return
    index, gap = found
    fresh = _is_fresh(steps.rows[index], thresholds)
    level: Level | None = None
    if gap > thresholds.gap_note:
        level = (
            "alarm"
            if gap > thresholds.gap_alarm and fresh
            else "warn"
            if gap > thresholds.gap_warn
            else "note"
        )
    if level is None:
        return
    sentence = (
        f"Sampler and learner disagreed by {short(gap)} nats a token on average at step "
        f"{steps.number(index)} (below {short(thresholds.gap_note)} is fine, "
        f"above {short(thresholds.gap_warn)} is a problem)."
    )
    ends = steps.ends(name, thresholds.window, thresholds.least)
    if ends and ends[1] > 2 * ends[0] and ends[1] - ends[0] > 2 * ends[2]:
        sentence += f" It grew from {short(ends[0])} to {short(ends[1])}, pointing at stale weights."
    sentence += (
        " Set `sampling_precision: same` and, where that is not enough, `precision: float32`; or correct for"
        " the gap with `policy_gradient.importance_cap`."
        if fresh
        else " These samples were not fresh, so part of it is honest policy movement."
    )
    yield Finding(level, "logprob_gap", sentence, steps.phase, gap)


def ratio_precision(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Before the first update a ratio is 1; what rounding makes of it must be small beside the clip range."""
    clip = steps.last("clip_range")

    def larger(largest: tuple[float, int] | None, index: int, row: Row) -> tuple[float, int] | None:
        gap = reading(row, "sampling/logprob_gap_mean")
        if (
            gap is None or gap > thresholds.gap_note or not _is_fresh(row, thresholds)
        ):  # `logprob_gap` speaks of it
            return largest
        return (gap, index) if largest is None else max(largest, (gap, index))

    found = steps.fold(("largest small gap", thresholds), lambda: None, larger)
    if found is None or not clip or found[0] <= thresholds.gap_of_clip * clip:
        return
    gap, index = found
    yield Finding(
        "warn",
        "ratio_precision",
        f"Before any update ratios were off 1 by {short(gap)} on average at step {steps.number(index)}, "
        f"{percent(gap / clip)} of the clip range {short(clip)} (up to {percent(thresholds.gap_of_clip)} is "
        "fine): clipping decides by rounding. Sample and learn in the same `precision` and the same batches, "
        "keep latents as they were scored (`policy.flow.stored`), or widen `policy_gradient.clip_low` and "
        "`clip_high`.",
        steps.phase,
        gap / clip,
    )


def weight_sync(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """On fresh samples the mean ratio is 1; far from 1 the sampler holds other weights than the learner."""

    def off(_: int, row: Row) -> bool:
        ratio = reading(row, "ratio/mean")
        within = ratio is None or thresholds.ratio_low <= ratio <= thresholds.ratio_high
        return not within and _is_fresh(row, thresholds)

    index = steps.first(f"ratio off {thresholds}", off)
    if index is None:
        return
    ratio = float(steps.rows[index]["ratio/mean"])
    yield Finding(
        "alarm",
        "weight_sync",
        f"The mean ratio of trained to sampled probability was {short(ratio)} at step "
        f"{steps.number(index)} on fresh samples, where it must be close to 1 (allowed: "
        f"{short(thresholds.ratio_low)} to {short(thresholds.ratio_high)}): the weights do not reach the "
        "sampler. Check that the engine is given the new weights after every update and that "
        "`temperature` is the same on both sides.",
        steps.phase,
        abs(math.log(max(ratio, 1e-12))),
    )


def effective_sample(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Importance weights that concentrate on few rollouts leave few rollouts' worth of gradient."""
    share = steps.tail(thresholds.window).mean("effective_sample_size", thresholds.least)
    if share is None or share >= thresholds.effective_sample:
        return
    yield Finding(
        "warn",
        "effective_sample",
        f"Importance weights leave an effective sample of {percent(share)} of the kept rollouts over the "
        f"last {min(thresholds.window, len(steps))} steps: the gradient is as noisy as if the rest had not "
        "been sampled. Make fewer updates on one batch (`learner.epochs`, `learner.minibatches`), "
        "or lower `learning_rate`.",
        steps.phase,
        1 / max(share, 1e-6),
    )


def staleness(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """How many weight versions old the trained tokens are."""
    age = steps.tail(thresholds.window).mean("staleness/mean", thresholds.least)
    if age is None or age <= thresholds.stale:
        return
    yield Finding(
        "warn",
        "staleness",
        f"Trained tokens were {short(age)} weight versions old on average over the last "
        f"{min(thresholds.window, len(steps))} steps (above {short(thresholds.stale)} the clipped ratio "
        "stops protecting the update). Sample less ahead (`plan.in_flight`), or restart rollouts left over "
        "from old weights instead of resuming them.",
        steps.phase,
        age,
    )


def uncorrected(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Many tokens of older weights, and nothing that accounts for it."""
    recent = steps.tail(thresholds.window)
    carried = recent.mean("staleness/carried_ratio", thresholds.least)
    if carried is None or carried < thresholds.carried or recent.values("importance/mean"):
        return
    trained, sampled = sum(recent.values("kept_tokens")), sum(recent.values("step_tokens"))
    if trained <= (1 - carried) * sampled * 1.01:  # the select part `stale` leaves them out
        return
    yield Finding(
        "note",
        "uncorrected",
        f"{percent(carried)} of the trained tokens of the last {len(recent)} steps were sampled by older "
        "weights, and the clipped ratio alone stands for the difference. Set "
        "`policy_gradient.importance_cap: 2` to correct token by token, or leave them out with "
        "`select: [stale]`.",
        steps.phase,
        carried,
    )


def thrown_away(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Tokens thrown away by restarts of unfinished rollouts."""
    recent = steps.tail(thresholds.window)
    lost, trained = sum(recent.values("leftovers/discarded_tokens")), sum(recent.values("step_tokens"))
    if len(recent) < thresholds.least or not lost or lost < thresholds.discarded * trained:
        return
    yield Finding(
        "warn",
        "thrown_away",
        f"Restarting unfinished rollouts threw away {percent(lost / max(trained, 1))} as many tokens as were "
        f"trained over the last {len(recent)} steps. Keep them with `leftovers.then: resume`, raise "
        "`leftovers.max_age`, or lower `plan.in_flight`.",
        steps.phase,
        lost / max(trained, 1),
    )


def entropy_fall(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Entropy that vanishes while reward stands still is exploration lost for nothing.

    A supervised phase has no reward, and its entropy is meant to fall.
    """
    ends = steps.ends("entropy", thresholds.window, thresholds.least)
    reward = steps.ends("reward", thresholds.window, thresholds.least)
    if ends is None or reward is None or ends[0] <= 0 or ends[1] / ends[0] >= thresholds.entropy_fall:
        return
    start, end, _ = ends
    sentence = (
        f"Entropy fell from {short(start)} to {short(end)} nats a token (to {percent(max(end, 0) / start)}) "
        f"between steps {steps.number(0)} and {steps.number(-1)}."
    )
    risen = reward[1] - reward[0] > 2 * reward[2]
    if risen:
        sentence += (
            f" Reward rose from {short(reward[0])} to {short(reward[1])} meanwhile, so the policy is "
            "becoming sure of what works; it is a worry only once reward stands still."
        )
    else:
        sentence += (
            " Reward did not rise meanwhile: the policy stopped exploring without having learned. Raise "
            "`policy_gradient.clip_high` or `temperature`, or lower `learning_rate`."
        )
    yield Finding(
        "note" if risen else "warn", "entropy_fall", sentence, steps.phase, start / max(end, 1e-6 * start)
    )


def _is_fresh(row: Row, thresholds: Thresholds) -> bool:
    return float(row.get("staleness/mean") or 0.0) <= thresholds.fresh


CHECKS = (
    *(not_finite, logprob_gap, ratio_precision, weight_sync, effective_sample),
    *(staleness, uncorrected, thrown_away, entropy_fall),
)
