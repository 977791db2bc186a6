"""A learned judge of edited scenes of 32x32 pixels, and how a policy fools it: onereward_judge one size up.

The scenes, their people and the one base of claims/onereward_shapes; 500 sets of candidates a task. The
judge, an MLP without language, is told the asked colour by its number. Arms and rows are those of
onereward_judge.py; the headline is about the two criteria of filling, which conflict.
"""

from functools import cache

from benchmarks.claims import onereward_judge
from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.onereward import rater
from benchmarks.claims.onereward_judge import ARMS, RATES, AllPairs
from benchmarks.claims.onereward_shapes import SCENES, base


@cache
def lessons(seed: int) -> AllPairs:
    """Pairs of images of the base."""
    return rater.annotated(SCENES, base(), seed)


def train(arm: str, rate: float, seed: int) -> Row:
    """Accuracy of one way to judge scenes."""
    found = onereward_judge.judged(SCENES, lessons(seed), arm, rate, seed)
    return {**found, "fill": (found["fill, text_alignment"] + found["fill, consistency"]) / 2}


def run(seed: int, advance: Advance) -> Rows:
    """What training on a learned judge and on the true one leads to."""
    return onereward_judge.pleasing(SCENES, base(), lessons(seed), seed, advance)


def headline(rows: Rows) -> float:
    """Accuracy on the criteria of filling with the query less that of the better rival."""
    return rows["query"]["fill"] - max(rows[name]["fill"] for name in ARMS if name != "query")


CLAIM = Claim(
    paper="arXiv 2508.21066",
    parts=("preference", "reward_backprop"),
    recipe="onereward",
    says="one judge is right on 72-85 % of held-out pairs, by task and criterion",
    claim="on 32x32 scenes, one judge that is told which criterion is meant is right on .05 more of filling's"
    " held-out pairs than one that is not told, and than a judge for each criterion with as many steps",
    target=0.05,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train,
    score=lambda row: row["mean"],
    work="pairs forwarded and propagated back",
    run=run,
    headline=headline,
    units=2,
)
