"""One judge told what is asked, or one that is not: three editing tasks whose criteria conflict (2508.21066).

A small flow network edits 8x8 digits: `fill` a box with the asked digit, `extend` one beyond its middle,
`remove` what is in a box. The judge is a true one, known and differentiable, so that nothing but what it is
told differs. Arms, each at its own best learning rate, with as many network evaluations:
    query              by the task's criteria, hinge at .9, against the frozen base (Algorithm 1)
    query, moving      the same against a moving average of the policy, decay .99 (Algorithm 2)
    no query           one score for everything, the mean over all criteria: a summed reward
    a policy each      three policies by the task's criteria, which share the batches as the mixture does
Rates are chosen by the worst of five win-rates. Rows beside them, ablations the paper lacks, change one
thing in `query` at 2e-4 and are not tuned: the bound, where rollouts may stop. Numbers are true win-rates of
whole images against the base's, 1000 pairs a task on digits no training has seen (the base against itself:
.5); `reader 2` is alignment by a classifier that no policy is trained against. `p at start` and `p at end`
are what the judge says of the early-stopped images that training sees. Pixels outside of a mask are the
source's. The judge is the measure, but for `reader 2`: a learned judge is in onereward_judge.py. Left out:
the paper's people, models and sizes.
"""

from dataclasses import replace
from functools import cache

from torch import Tensor

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.onereward import editing
from benchmarks.claims.onereward.editing import Method, Setting
from benchmarks.claims.onereward.scores import TASKS
from oneloop.sample.policies.denoising.policy import FlowPolicy

RATES = (1e-4, 2e-4, 4e-4, 8e-4)
METHODS = {
    "query": Method(),
    "query, moving reference": Method(decay=0.99),
    "no query": Method(query=False),
}
APART = "a policy each"
ABLATIONS = {
    "bound: none": Method(bound=None),
    "bound: .7": Method(bound=0.7),
    "bound: 1": Method(bound=1.0),
    "stop: 1 to 4": Method(stop=(1, 4)),
    "stop: 9": Method(stop=(9, 9)),
    "stop: 1 to 9": Method(stop=(1, 9)),
}
Rivals = dict[str, Tensor]


@cache
def taught(seed: int) -> tuple[FlowPolicy, Rivals]:
    """The base of a seed, and its images."""
    base = editing.taught(editing.DIGITS, seed)
    return base, editing.rivals_of(editing.DIGITS, base, seed)


def measured(setting: Setting, start: tuple[FlowPolicy, Rivals], method: Method, seed: int) -> Row:
    """What becomes of the base, trained by one method."""
    base, rival = start
    policy, history = editing.train(setting, base, method, editing.known(setting, method), seed)
    ends = {
        "p at start": editing.judged(history[:5], "preference"),
        "p at end": editing.judged(history[-5:], "preference"),
    }
    found = editing.win_rates(setting, policy, rival, seed) | (ends if method.query else {})
    return found | {"work": float(policy.meter.total)}


def apart(setting: Setting, start: tuple[FlowPolicy, Rivals], rate: float, seed: int) -> Row:
    """The same of a policy for each task, which share the batches."""
    (base, rival), method = start, Method(learning_rate=rate)
    found, work = dict[str, float](), 0.0
    for task in TASKS:
        share = replace(setting, iterations=round(setting.iterations * editing.WEIGHTS[task]))
        policy, _ = editing.train(share, base, method, editing.known(share, method), seed, task)
        mine = editing.win_rates(setting, policy, rival, seed)
        found |= {name: value for name, value in mine.items() if name.startswith(task)}
        work += policy.meter.total
    return found | editing.summary(found) | {"work": work}


def row(setting: Setting, start: tuple[FlowPolicy, Rivals], arm: str, rate: float, seed: int) -> Row:
    """An arm's columns at a learning rate."""
    if arm == APART:
        return apart(setting, start, rate, seed)
    return measured(setting, start, replace(METHODS[arm], learning_rate=rate), seed)


def train(arm: str, rate: float, seed: int) -> Row:
    """An arm on digits."""
    return row(editing.DIGITS, taught(seed), arm, rate, seed)


def run(seed: int, advance: Advance) -> Rows:
    """The base against itself, and what changing one thing does."""
    start = taught(seed)
    rows: dict[str, Row] = {"base": editing.win_rates(editing.DIGITS, *start, seed)}
    advance(f"seed {seed}: base")
    for name, method in ABLATIONS.items():
        rows[name] = measured(editing.DIGITS, start, method, seed)
        advance(f"seed {seed}: {name}")
    return rows


def headline(rows: Rows) -> float:
    """Worst win-rate of the five with the query less that of the better rival."""
    return rows["query"]["worst"] - max(rows[name]["worst"] for name in ("no query", APART))


CLAIM = Claim(
    paper="arXiv 2508.21066",
    parts=("preference", "reward_backprop", "mixture", "edits", "stop"),
    recipe="onereward",
    says="one judge for all tasks and criteria: usable pictures 69 % against the best rival's 52 % (fill)",
    claim=(
        "told task and criterion, one judge and one policy lift the worst of five win-rates by .1 over one "
        "judge that is not told, and over a policy for each task"
    ),
    target=0.1,
    found=("the judge that trains is the measure too; with a learned judge every form of the claim fails"),
    arms=tuple(Arm(name, RATES) for name in (*METHODS, APART)),
    train=train,
    score=lambda row: row["worst"],
    work="network evaluations of training, the reference's included, and of measuring (30 000 a policy)",
    run=run,
    headline=headline,
    units=1 + len(ABLATIONS),
)
