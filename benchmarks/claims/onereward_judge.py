"""A learned judge of edits: what one judge with a query is worth, and how it is fooled (arXiv 2508.21066).

MLPs learn best-of-4 against worst-of-4 pairs of 8x8 digits, labelled by true scores (see claims/onereward):
    query         one judge of all tasks and criteria, which is told what is asked
    no query      one judge that is not told
    a judge each  five judges, one a task and criterion, each with its own pairs and a fifth of the steps
Accuracy is on held-out pairs of the same kind, in both orders; `mean` is that of the five. Beside it a policy
is trained to please the judge with the query (`clamped`, pixels stay in [0, 1]) or the true one (`known`),
and win-rates of its last ten batches are set beside one another: `said` by that judge, `true` by the true
scores, and `gap`, their difference, which the doctor watches.
"""

from dataclasses import replace
from functools import cache

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.onereward import editing, rater
from benchmarks.claims.onereward.editing import Setting
from oneloop.sample.policies.denoising.policy import FlowPolicy

SMALL = replace(editing.DIGITS, pretraining=400, sets=1500, held_out=300, lessons=400, paired=300)
RATE, RATES = 2e-4, (3e-4, 1e-3, 3e-3, 1e-2)
ARMS = ("query", "no query", "a judge each")
AllPairs = dict[tuple[str, str], rater.Pairs]


@cache
def lessons(seed: int) -> tuple[FlowPolicy, AllPairs]:
    """(the base, pairs of its images)."""
    base = editing.taught(SMALL, seed)
    return base, rater.annotated(SMALL, base, seed)


def judged(setting: Setting, pairs: AllPairs, arm: str, rate: float, seed: int) -> Row:
    """Accuracy of one way to judge, learned from all pairs in as many steps."""
    work = {"work": float(setting.lessons * rater.JUDGE_BATCH)}
    if arm != "a judge each":
        judge = rater.learned(setting, pairs, seed, rate, query=arm == "query")
        return rater.accuracy(setting, judge, pairs) | work
    fifth = replace(setting, lessons=setting.lessons // len(pairs))
    found = {}
    for (task, criterion), each in pairs.items():
        judge = rater.learned(fifth, {(task, criterion): each}, seed, rate)
        found[f"{task}, {criterion}"] = rater.right(setting, judge, each)
    return found | editing.summary(found) | work


def train(arm: str, rate: float, seed: int) -> Row:
    """The same on digits."""
    return judged(SMALL, lessons(seed)[1], arm, rate, seed)


def pleasing(setting: Setting, base: FlowPolicy, pairs: AllPairs, seed: int, advance: Advance) -> Rows:
    """What training on a learned judge and on the true one leads to."""
    rival = editing.rivals_of(setting, base, seed)
    judges = {
        "clamped": rater.pleased(rater.learned(setting, pairs, seed)),
        "known": editing.known(setting, editing.Method()),
    }
    rows = {}
    for name, judge in judges.items():
        rows[f"policy: {name}"] = rater.hacked(setting, base, judge, seed, True, RATE, rival)
        advance(f"seed {seed}: {name}")
    return rows


def run(seed: int, advance: Advance) -> Rows:
    """The same on digits."""
    return pleasing(SMALL, *lessons(seed), seed, advance)


def headline(rows: Rows) -> float:
    """Mean accuracy of one judge with the query less that of the better rival."""
    return rows["query"]["mean"] - max(rows[name]["mean"] for name in ("no query", "a judge each"))


CLAIM = Claim(
    paper="arXiv 2508.21066",
    parts=("preference", "reward_backprop"),
    recipe="onereward",
    says="one judge is right on 72-85 % of held-out pairs, by task and criterion",
    claim="one judge that is told task and criterion is right on more of the held-out pairs than one that is "
    "not told, and than a judge for each criterion with as many steps in all, by",
    target=0.0,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train,
    score=lambda row: row["mean"],
    work="pairs forwarded and propagated back",
    run=run,
    headline=headline,
    units=2,
)
