"""Whether the codebook of an image tokenizer is in use."""

from collections.abc import Iterator

from oneloop.report.doctor.finding import Finding, Steps, Thresholds, percent, short


def collapsed(steps: Steps, thresholds: Thresholds) -> Iterator[Finding]:
    """Few codes in use: the others cost bits and say nothing."""
    recent = steps.tail(thresholds.window)
    share, count = recent.mean("codes/in_use", thresholds.least), recent.last("codes/perplexity")
    if share is None or count is None or share >= thresholds.codes_in_use:
        return
    yield Finding(
        "warn",
        "codebook_collapse",
        f"The images of a batch used {short(count)} codes, {percent(share)} of the codebook, over the last "
        f"{len(recent)} steps (below {percent(thresholds.codes_in_use)} it has collapsed): most codes cost "
        "bits and say nothing. Move unused ones onto images (`policy.image_tokenizer.revive_every`), lower "
        "`learning_rate`, or take a smaller codebook; it can also be that a batch has too few tokens to use "
        "more (`plan.groups`).",
        steps.phase,
        1 / max(share, 1e-6),
    )


CHECKS = (collapsed,)
