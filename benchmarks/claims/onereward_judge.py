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

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.onereward import editing, rater
from benchmarks.claims.onereward.editing import Setting
from oneloop.sample.policies.denoising.policy import FlowPolicy

SMALL = replace(editing.DIGITS, pretraining=400, sets=1500, held_out=300, lessons=400, paired=300)
RATE, RATES = 2e-4, (3e-4, 1e-3, 3e-3, 1e-2)
POLICIES = ("free", "clamped", "careful", "known")


@cache
def lessons(seed: int) -> tuple[FlowPolicy, dict[tuple[str, str], rater.Pairs]]:
    """(the base, pairs of its images)."""
    base = editing.taught(SMALL, seed)
    return base, rater.annotated(SMALL, base, seed)


def train(arm: str, rate: float, seed: int) -> Row:
    """Accuracy of one way to judge, learned from all pairs in as many steps."""
    _, pairs = lessons(seed)
    work = {"work": float(SMALL.lessons * rater.JUDGE_BATCH)}
    if arm != "a judge each":
        judge = rater.learned(SMALL, pairs, seed, rate, query=arm == "query")
        return rater.accuracy(SMALL, judge, pairs) | work
    fifth = replace(SMALL, lessons=SMALL.lessons // len(pairs))
    found = {}
    for (task, criterion), each in pairs.items():
        judge = rater.learned(fifth, {(task, criterion): each}, seed, rate)
        found[f"{task}, {criterion}"] = rater.right(SMALL, judge, each)
    return found | editing.summary(found) | work


def run(seed: int, advance: Advance) -> Rows:
    """What training on a learned judge and on the true one leads to."""
    base, pairs = lessons(seed)
    rival = editing.rivals_of(SMALL, base, seed)
    judges = {
        "clamped": rater.pleased(rater.learned(SMALL, pairs, seed)),
        "known": editing.known(SMALL, editing.Method()),
    }
    rows = {}
    for name, judge in judges.items():
        rows[f"policy: {name}"] = rater.hacked(SMALL, base, judge, seed, True, RATE, rival)
        advance(f"seed {seed}: {name}")
    return rows


def compared(
    setting: Setting, base: FlowPolicy, seed: int, advance: Advance, policies: Sequence[str] = POLICIES
) -> Rows:
    """Accuracies of judges that learn from the base's images, then what training on them leads to."""
    pairs, rival = rater.annotated(setting, base, seed), editing.rivals_of(setting, base, seed)
    advance(f"seed {seed}: base and pairs")
    judges = {
        "query": rater.learned(setting, pairs, seed),
        "no query": rater.learned(setting, pairs, seed, query=False),
        "query, noise": rater.learned(setting, pairs, seed, noise=0.15),
    }
    rows = {f"judge: {name}": rater.accuracy(setting, judge, pairs) for name, judge in judges.items()}
    advance(f"seed {seed}: judges")
    runs: dict[str, tuple[Any, bool, float]] = {
        "free": (rater.pleased(judges["query"]), False, RATE),
        "clamped": (rater.pleased(judges["query"]), True, RATE),
        "careful": (rater.pleased(judges["query, noise"]), True, RATE / 4),
        "known": (editing.known(setting, editing.Method()), True, RATE),
    }
    for name in policies:
        judge, clamp, rate = runs[name]
        rows[f"policy: {name}"] = rater.hacked(setting, base, judge, seed, clamp, rate, rival)
        advance(f"seed {seed}: {name}")
    return rows


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
    arms=tuple(Arm(name, RATES) for name in ("query", "no query", "a judge each")),
    train=train,
    score=lambda row: row["mean"],
    work="pairs forwarded and propagated back",
    run=run,
    headline=headline,
    units=2,
)
