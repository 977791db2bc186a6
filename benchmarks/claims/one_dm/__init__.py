"""One-DM's second stage: does a reader's reward make words legible, and what do Laplacian and contrast do?

Fonts are writers; words of up to three letters, 16 x 36 pixels, are learned from three quarters of them, and
held-out words are written in the hands of the others from one reference each. Columns:
`benchmarks.claims.one_dm.measures`. Stage 1 (denoising and contrast) is trained once a seed, and then:

    more of stage 1             further steps of both losses
    stage 2, back-propagation   both losses and a reader's log-likelihood through five calls (One-DM)
    stage 2, GRPO               the same reader as an ordinary reward, on the steps of DDIM
    stage 2, BranchGRPO         the same on trees, which fork at the steps 0, 3 and 6

Each takes as many evaluations of the denoiser: one for a word of stage 1, six for one of stage 2, and for
both GRPOs those of sampling and one for each action that is learned from. Rows beside them, at the recipe's
learning rate, not tuned, so that nothing is claimed of them: `stage 1`, from which all four start;
`stage 1, no Laplacian`, the branch of edges left out; `stage 1, no contrast`, without the contrastive loss.
Those that need no training: `measures.dull`. The reader that gives the reward has seen known words of seen
writers; the one that measures is another network, which has seen all fonts.

Headline: 1 - cer of back-propagation over cer of more of stage 1.

    oneloop fetch handwriting-fonts
    python -m benchmarks.claims one_dm --quick          one seed at the middle of each grid
"""

import tempfile
from functools import cache
from pathlib import Path

from benchmarks.claims.bases import Weights, kept
from benchmarks.claims.claim import Advance, Arm, Claim, Fraction, Row, Rows
from benchmarks.claims.one_dm import setting
from benchmarks.claims.one_dm.measures import Judges, dull, measured
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.tree import Tree
from oneloop.judge.reader import Reader
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.reward_backprop import RewardBackprop

TARGET = 0.2
READS, UNROLLED = 100, 5
"""Steps of stage 2 by back-propagation, and the calls of each."""
GROUPS, WIDE = 4, 8
"""Words of a batch of GRPO, and pictures of each."""
FORK = Fork(steps=(0, 3, 6), factor=2)
"""The tree of BranchGRPO; it has `WIDE` leaves."""
WORK = READS * setting.BATCH * (1 + UNROLLED)
"""Evaluations of the denoiser in stage 2."""
PLAIN = {"stage 1": {}, "stage 1, no Laplacian": {"edges": "none"}, "stage 1, no contrast": {}}


@cache
def judges() -> Judges:
    """The networks that measure."""
    return Judges(setting.reader(1, everything=True), setting.hands())


@cache
def folder() -> str:
    """Where the reader is that gives the reward."""
    kept = Path(tempfile.mkdtemp(prefix="oneloop_reader_"))
    setting.reader(0, everything=False).save(kept)
    return str(kept)


@kept
def taught(arm: str, seed: int) -> Weights:
    """Weights after stage 1."""
    policy = setting.opened(seed, **PLAIN[arm])
    learning = setting.learning(setting.RATE, warmup=50, schedule="cosine")
    objectives = setting.stage_one(contrast=arm != "stage 1, no contrast")
    setting.taught(policy, objectives, learning, setting.STEPS, seed)
    return dict(policy.model.state_dict())


def first(arm: str, seed: int) -> FlowPolicy:
    """A policy after stage 1."""
    policy = setting.opened(seed, **PLAIN[arm])
    policy.model.load_state_dict(taught(arm, seed))
    return policy


def second(arm: str, rate: float, seed: int) -> FlowPolicy:
    """What an arm makes of it."""
    policy = setting.opened(seed, noise="ddim" if arm.endswith("GRPO") else "ode")
    policy.model.load_state_dict(taught("stage 1", seed))
    if arm.endswith("GRPO"):
        grpo(policy, rate, seed, FORK if "Branch" in arm else None)
        return policy
    objectives, steps = setting.stage_one(), WORK // setting.BATCH
    if arm.endswith("back-propagation"):
        judge = Reader(folder=folder(), score="log_likelihood", device="cpu")
        options = {"begin": "data", "steps": UNROLLED, "calls": UNROLLED, "bound": None, "coefficient": 0.1}
        objectives, steps = [*objectives, RewardBackprop(judge=judge, **options)], READS  # type: ignore[arg-type]
    learning = setting.learning(rate, warmup=5, schedule="cosine", max_grad_norm=5.0)
    setting.taught(policy, objectives, learning, steps, seed + 1)
    return policy


def evaluations(fork: Fork | None) -> int:
    """Those of a word of GRPO: of its distinct pictures before each step, and of each outcome of a step that
    is learned from, which is all but the last one's, where DDIM draws no noise."""
    if fork is None:
        return WIDE * (2 * setting.CALLS - 1)
    before = [int(fork.factor ** sum(at < step for at in fork.steps)) for step in range(setting.CALLS)]
    return sum(before) + sum(before[1:])  # an outcome is a picture before the next step


def grpo(policy: FlowPolicy, rate: float, seed: int, fork: Fork | None) -> None:
    """Trains on what the reader says of the policy's own words."""
    steps, dress = round(WORK / (GROUPS * evaluations(fork))), (fork,) if fork else ()
    plan = Plan(data=setting.words(), groups=GROUPS, count=Uniform(n=WIDE), dress=dress)
    plan.begin(seed=seed + 1, steps=steps)
    learning = Learning(learning_rate=rate, minibatches=2, warmup=2)
    learner = Learner(policy, [PolicyGradient(clip_low=1e-3, clip_high=1e-3)], learning, steps)
    judge = Judging((Reader(folder=folder(), score="log_likelihood", device="cpu"),))
    for _ in Loop(plan, policy.sample, judge, [Tree() if fork else GroupRelative()], learner).run(steps):
        pass


def columns(policy: FlowPolicy, work: int) -> Row:
    """What is measured of a policy."""
    found = measured(judges(), *setting.written(policy))
    return found | {"parameters": setting.parameters(policy), "work": float(work)}


def train(arm: str, rate: float, seed: int) -> Row:
    """The columns of an arm at a learning rate."""
    return columns(second(arm, rate, seed), setting.STEPS * setting.BATCH + WORK)


def run(seed: int, advance: Advance) -> Rows:
    """What needs no training, and the first stage with and without what One-DM adds to it."""
    rows = setting.rows()
    found: dict[str, Row] = {
        name: measured(judges(), pictures, rows) for name, pictures in dull(rows, seed).items()
    }
    advance(f"seed {seed}: baselines without training")
    for name in PLAIN:
        found[name] = columns(first(name, seed), setting.STEPS * setting.BATCH)
        advance(f"seed {seed}: {name}")
    return found


def headline(rows: Rows) -> Fraction:
    """Share of the errors that back-propagation takes away, as (errors fewer, errors)."""
    more, read = (rows[name]["cer"] for name in ("more of stage 1", "stage 2, back-propagation"))
    return more - read, more


RATES = (5e-5, 1.5e-4, 4e-4, 1e-3)
CLAIM = Claim(
    paper="arXiv 2409.04004",
    parts=("one_dm", "reward_backprop", "reader", "style_contrast", "handwriting_fonts"),
    recipe="one_dm",
    says="a second stage with a reader's loss makes what is written more legible",
    claim=f"a reader's reward takes {TARGET:.0%} more errors away than more of stage 1 at equal evaluations",
    target=TARGET,
    arms=(
        Arm("more of stage 1", RATES),
        Arm("stage 2, back-propagation", RATES),
        Arm("stage 2, GRPO", RATES),
        Arm("stage 2, BranchGRPO", RATES),
    ),
    train=train,
    score=lambda row: -row["cer"],
    run=run,
    headline=headline,
    work="evaluations of the denoiser",
    units=1 + len(PLAIN),
)
