"""XRPO's three parts, each against what it replaces at equal rollouts, in one table (arXiv 2510.06672).

planner     coins and a transformer: gain in mean pass rate over uniform allocation (the headline: coins)
seeding     a small Llama: all-fail prompts that get a success in the step, zero-shot accuracy afterwards
sharpening  tables of answers: how much of the rare right answers is left, at equal accuracy
"""

from benchmarks.claims.claim import Advance, Claim, Rows
from benchmarks.claims.xrpo import planner, seeding, sharpening


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    return {
        **planner.coins(seed, advance),
        **planner.transformer(seed, advance),
        **seeding.run(seed, advance),
        **sharpening.run(seed, advance),
    }


def headline(rows: Rows) -> float:
    """Gain in mean pass rate of the planner without a bonus over that of uniform allocation, on coins."""
    return rows["coins: no bonus"]["gain"] / rows["coins: uniform"]["gain"]


CLAIM = Claim(
    paper="arXiv 2510.06672",
    parts=("allocate", "seed_contexts", "novelty"),
    recipe="xrpo",
    says="up to +4 % pass@1, and 2.4 to 2.7 times fewer training steps than GRPO and GSPO",
    claim="at equal rollouts the planner gains 1.2 times as much pass rate as uniform allocation",
    target=1.2,
    found=(
        "both arms untuned: at tuned learning rates the planner gains 0.91 (0.89-0.94) of uniform "
        "allocation; seeding had eight times the sequences of its supervised arm, which reaches "
        ".93-.99 with four times as many"
    ),
    run=run,
    headline=headline,
    units=planner.UNITS + seeding.UNITS + sharpening.UNITS,
)
