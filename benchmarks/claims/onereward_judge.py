"""A learned judge of edits: what the query is worth to it, and how a policy fools it (arXiv 2508.21066).

One MLP learns best-of-4 against worst-of-4 pairs of all tasks and criteria, labelled by true scores of 8x8
digits (see claims/onereward), with the query and without; accuracy is on held-out pairs of the same kind, in
both orders. Then a policy is trained to please it, and three win-rates of its last ten batches are set
beside one another:
    said    by the learned judge          true    by the true scores, on the same images
    gap     `hacking_gap`, their difference, which the doctor watches
`free` has pixels that may leave [0, 1]; `clamped` keeps them there; `careful` also has a judge that was
learned under noise, and a quarter of the learning rate. `known` is the true judge, the control.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks.claims.claim import Advance, Claim, Rows
from benchmarks.claims.onereward import editing, rater
from benchmarks.claims.onereward.editing import DIGITS, Setting
from oneloop.sample.policies.denoising.policy import FlowPolicy

RATE = 2e-4
POLICIES = ("free", "clamped", "careful", "known")


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


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    return compared(DIGITS, editing.taught(DIGITS, seed), seed, advance)


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
        "where criteria conflict, a judge that is told which is meant is right on .05 more of held-out pairs"
    ),
    target=0.05,
    run=run,
    headline=headline,
    units=2 + len(POLICIES),
)
