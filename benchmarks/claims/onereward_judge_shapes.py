"""A learned judge of edited scenes of 32x32 pixels, and how a policy fools it: onereward_judge one size up.

The scenes, their people and the one base of claims/onereward_shapes; 500 sets of candidates a task. The
judge, an MLP without language, is told the asked colour by its number.
"""

from benchmarks.claims.claim import Advance, Claim, Rows
from benchmarks.claims.onereward_judge import compared
from benchmarks.claims.onereward_shapes import SCENES, base

POLICIES = ("free", "careful")


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    return compared(SCENES, base(), seed, advance, POLICIES)


def headline(rows: Rows) -> float:
    """Accuracy on the two criteria of filling, which conflict, with the query less without."""
    fill = ("fill, text_alignment", "fill, consistency")
    return sum(rows["judge: query"][name] - rows["judge: no query"][name] for name in fill) / len(fill)


CLAIM = Claim(
    paper="arXiv 2508.21066",
    parts=("preference", "reward_backprop"),
    recipe="onereward",
    says="one judge is right on 72-85 % of held-out pairs, by task and criterion",
    claim=(
        "on 32x32 scenes, a judge that is told which criterion is meant is right on .05 more of filling's "
        "held-out pairs"
    ),
    target=0.05,
    run=run,
    headline=headline,
    units=2 + len(POLICIES),
)
