"""One judge told what is asked, or one that is not: three editing tasks whose criteria conflict (2508.21066).

A small flow network edits 8x8 digits: `fill` a box with the asked digit, `extend` one beyond its middle,
`remove` what is in a box. The judge is a true one, known and differentiable, so that nothing but what it is
told differs:
    query              by the task's criteria, hinge at .9, against the frozen base (Algorithm 1)
    query, moving      the same against a moving average of the policy, decay .99 (Algorithm 2)
    no query           one score for everything, the mean over all criteria
and the ablations the paper lacks, one thing changed in `query`: the bound, where rollouts may stop. Numbers
are true win-rates of whole images against the base's, 1000 pairs a task on digits no training has seen (the
base against itself: .5); `reader 2` is alignment by a classifier that no policy is trained against. `p at
start` and `p at end` are what the judge says of the early-stopped images that training sees. Pixels outside
of a mask are the source's. Learning rate and length are equal, not tuned. Left out: the paper's people,
models and sizes.
"""

from collections.abc import Mapping

from benchmarks.claims.claim import Advance, Claim, Rows
from benchmarks.claims.onereward import editing
from benchmarks.claims.onereward.editing import Method, Setting
from oneloop.sample.policies.denoising.policy import FlowPolicy

METHODS = {
    "query": Method(),
    "query, moving reference": Method(decay=0.99),
    "no query": Method(query=False),
    "bound: none": Method(bound=None),
    "bound: .7": Method(bound=0.7),
    "bound: 1": Method(bound=1.0),
    "stop: 1 to 4": Method(stop=(1, 4)),
    "stop: 9": Method(stop=(9, 9)),
    "stop: 1 to 9": Method(stop=(1, 9)),
}


def compared(
    setting: Setting, methods: Mapping[str, Method], base: FlowPolicy, seed: int, advance: Advance
) -> Rows:
    """Every method's row; all start from one base and meet the same draws."""
    rival = editing.rivals_of(setting, base, seed)
    rows: dict[str, dict[str, float]] = {"base": editing.win_rates(setting, base, rival, seed)}
    advance(f"seed {seed}: base")
    for name, method in methods.items():
        judge = editing.known(setting, method)
        policy, history = editing.train(setting, base, method, judge, seed)
        ends = {
            "p at start": editing.judged(history[:5], "preference"),
            "p at end": editing.judged(history[-5:], "preference"),
        }
        rows[name] = editing.win_rates(setting, policy, rival, seed) | (ends if method.query else {})
        advance(f"seed {seed}: {name}")
    return rows


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    return compared(editing.DIGITS, METHODS, editing.taught(editing.DIGITS, seed), seed, advance)


def headline(rows: Rows) -> float:
    """Worst win-rate of the five with the query less that without."""
    return rows["query"]["worst"] - rows["no query"]["worst"]


CLAIM = Claim(
    paper="arXiv 2508.21066",
    parts=("preference", "reward_backprop", "mixture", "edits", "stop"),
    recipe="onereward",
    says="one judge for all tasks and criteria: usable pictures 69 % against the best rival's 52 % (fill)",
    claim=(
        "told task and criterion, one judge lifts the worst of five win-rates by .1 over one that is not told"
    ),
    target=0.1,
    found=("the judge that trains is the measure too; with a learned judge every form of the claim fails"),
    run=run,
    headline=headline,
    units=1 + len(METHODS),
)
