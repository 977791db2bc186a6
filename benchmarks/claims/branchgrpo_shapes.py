"""BranchGRPO against flat GRPO on captioned scenes of 32x32 pixels: the claim of branchgrpo.py one size up.

A transformer of 1.4 M parameters learns from 4096 scenes to draw captioned shapes (300 steps of 64 images,
some minutes; after 1200 it earns .95 on these captions and no gradient can be told from noise), then is
rewarded by judge `scene` on eight captions. 16 images a caption, 16 steps, forks at 0, 3, 6, 9. The goal of
training is a mean reward GAIN above that of the start; who does not reach it in all batches counts with what
they took. The signal of a gradient of so many weights is not to be told from 0 with 64 prompts: its column is
there to show that, and the claim is about training alone. All seeds share one network: they differ in the
order of prompts and in every noise, so intervals say nothing about other networks. Learning rates are equal,
not tuned.
"""

from functools import cache

from benchmarks.claims.branchgrpo import FLAT, Method, Setting, compared
from benchmarks.claims.claim import Advance, Claim, Rows
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.tree import Tree
from oneloop.judge.scene import Scene
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.sample.data.shapes import Shapes
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.select.prune import Prune
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.flow_matching import FlowMatching

PRETRAINING, STEPS, GAIN = 300, 16, 0.03
COLOURS = ("red", "green", "blue")
METHODS = {
    "flat": Method(FLAT, GroupRelative(), trained=True),
    "tree": Method(Fork(), Tree(), trained=True),
    "tree, late steps pruned": Method(Fork(), select=(Prune(width="all", steps=(10, 11, 12, 13, 14)),)),
}


@cache
def judge() -> Judging:
    """Count, colour, shape and position, read off the pixels."""
    return Judging((Scene(),))


SHAPES = Setting(
    data=Shapes(size=8, most=2, seed=1, colours=COLOURS),
    judge=judge,
    learning=Learning(learning_rate=1e-4, minibatches=2),
    reached=lambda start: start + GAIN,
    goal=f"to +{GAIN:g}",
    prompts=4,
    iterations=20,
    samples=64,
    averaged=4,
)


@cache
def pretrained() -> FlowPolicy:
    """A policy that has begun to draw captioned scenes."""
    network = FlowTransformer(patch=8, layers=4, words=4, vocabulary=1024)
    policy = Flow(model=network, steps=STEPS, level=0.6, device="cpu").open()
    learning = Learning(learning_rate=4e-3, warmup=50, schedule="cosine")
    learner = Learner(policy, [FlowMatching(even_below=0.5)], learning, PRETRAINING)
    plan = Plan(data=Shapes(size=4096, most=2, colours=COLOURS), groups=64)
    plan.begin(seed=0, steps=PRETRAINING)
    for _ in Loop(plan, policy.demonstrate, None, [], learner).run(PRETRAINING):
        pass
    return policy


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    start = pretrained()
    advance(f"seed {seed}: pre-trained")
    rows = compared(SHAPES, start, METHODS, seed, advance)
    kept = ("evaluations", SHAPES.goal, "batches", "reward")
    return {**rows, "tree over flat": {column: rows["tree over flat"][column] for column in kept}}


def headline(rows: Rows) -> float:
    """How many times fewer evaluations the tree needs to the goal."""
    return 1 / rows["tree over flat"][SHAPES.goal]


CLAIM = Claim(
    paper="arXiv 2509.06040",
    parts=("fork", "tree", "prune"),
    recipe="branchgrpo",
    says="an iteration takes 493 s where DanceGRPO takes 698 s, with pruning 314 s; HPS .363-.369 over .360",
    claim=f"on 32x32 images a tree gains {GAIN:g} of reward in 1.2 times fewer evaluations than a flat group",
    target=1.2,
    run=run,
    headline=headline,
    units=1 + len(METHODS),
)
