"""XRPO's three parts, each against what it replaces at equal rollouts, in one table (arXiv 2510.06672).

planner     coins and a transformer: gain in mean pass rate over uniform allocation (the headline: coins),
            every arm at its own best learning rate
seeding     a small Llama: all-fail prompts that get a success in the step, zero-shot accuracy afterwards,
            beside supervised steps on as many sequences; learning rates are equal, not tuned
sharpening  tables of answers: how much of the rare right answers is left, at equal accuracy; as above

Prompts of the planner's experiments are those it is measured on: coins share nothing that others could show.
"""

from benchmarks.claims.claim import Advance, Claim, Fraction, Rows
from benchmarks.claims.xrpo import planner, seeding, sharpening


def run(seed: int, advance: Advance) -> Rows:
    """Seeding and sharpening of one seed."""
    return {**seeding.run(seed, advance), **sharpening.run(seed, advance)}


def headline(rows: Rows) -> Fraction:
    """Gain in mean pass rate of the planner without a bonus over that of uniform allocation, on coins."""
    return rows["coins: no bonus"]["gain"], rows["coins: uniform"]["gain"]


CLAIM = Claim(
    paper="arXiv 2510.06672",
    parts=("allocate", "seed_contexts", "novelty"),
    recipe="xrpo",
    says="up to +4 % pass@1, and 2.4 to 2.7 times fewer training steps than GRPO and GSPO",
    claim="at equal rollouts and tuned learning rates the planner gains 1.05 times as much pass rate as "
    "uniform allocation",
    target=1.05,
    arms=planner.ARMS,
    train=planner.train,
    score=lambda row: row["gain"],
    work="rollouts",
    run=run,
    headline=headline,
    units=seeding.UNITS + sharpening.UNITS,
)
