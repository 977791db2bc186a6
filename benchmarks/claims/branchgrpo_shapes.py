"""BranchGRPO against flat GRPO on captioned scenes of 32x32 pixels: the claim of branchgrpo.py one size up.

A transformer of 1.4 M parameters learns from 4096 scenes to draw captioned shapes (300 steps of 64 images,
some minutes; after 1200 it earns .95 and nothing is left to gain), then is rewarded by judge `scene` on eight
captions: count, colour, shape and position, read off the pixels. 16 images a caption, 16 steps; the arms are
those of branchgrpo.py, the tree's forks at 0, 3, 6 and 9. Each trains until it has spent `BUDGET` evaluations
of the network, those of sampling and one for each action that is learned from. Afterwards new images are
drawn for captions that training has not seen: `reward` with noise in every step, as in training, and `greedy`
without; arms are tuned and compared by the first. All seeds share one network: they differ in the order of
prompts and in every noise, so intervals say nothing about other networks.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import torch

from benchmarks.claims import branchgrpo
from benchmarks.claims.branchgrpo import RATES, Setting, trained
from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from oneloop.core.rollouts import Rollouts
from oneloop.judge.scene import Scene
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.run.evaluation import held_out
from oneloop.sample.data.rows import Rows as DataRows
from oneloop.sample.data.shapes import Shapes
from oneloop.sample.plan.dress.window import Window
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.flow_matching import FlowMatching

PRETRAINING, STEPS = 300, 16
BUDGET = 20_000
"""Evaluations of the network that training takes, to the end of a batch."""
UNSEEN, EACH = 64, 4
"""Captions that are tested, and images of each."""
COLOURS = ("red", "green", "blue")
WINDOW = Window(every=2, last=STEPS - 5)
"""The last of its four steps is the last action: the call after it renders the image."""
ARMS = {
    name: replace(method, window=(WINDOW,) if method.window else ())
    for name, method in branchgrpo.ARMS.items()
}


@cache
def judge() -> Judging:
    """Count, colour, shape and position, read off the pixels."""
    return Judging((Scene(),))


SHAPES = Setting(data=Shapes(size=8, most=2, seed=1, colours=COLOURS), judge=judge, minibatches=2, prompts=4)


@cache
def unseen() -> DataRows:
    """Scenes whose captions are none of those that are trained on."""
    known = {SHAPES.data[key]["prompt"] for key in range(len(SHAPES.data))}
    scenes, found = Shapes(size=4096, most=2, seed=2, colours=COLOURS), dict[str, Any]()
    for key in range(len(scenes)):
        row = scenes[key]
        if row["prompt"] not in known:
            found.setdefault(row["prompt"], row)
    return DataRows(rows=list(found.values())[:UNSEEN])


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


@torch.no_grad()
def measured(policy: FlowPolicy, seed: int) -> Row:
    """Mean reward of new images for captions that training has not seen, with noise and without."""
    data = unseen()
    asked = held_out(data, len(data), EACH, seed)

    def reward(images: Rollouts) -> float:
        return float(judge()(images).reward.mean())

    sampled = reward(policy.sample(asked)[0])
    with policy.greedy():
        return {"reward": sampled, "greedy": reward(policy.sample(asked)[0])}


def train(arm: str, rate: float, seed: int) -> Row:
    """One arm until `BUDGET` is spent, and what it draws then."""
    policy, row = trained(SHAPES, pretrained(), ARMS[arm], rate, seed, BUDGET)
    return {**measured(policy, seed), **row}


def run(seed: int, advance: Advance) -> Rows:
    """What the network draws before."""
    rows = {"before": measured(pretrained(), seed)}
    advance(f"seed {seed}: before")
    return rows


def headline(rows: Rows) -> float:
    """Reward of the better tree less that of the better flat arm."""
    tree, flat = (max(rows[kind + more]["reward"] for more in ("", ", window")) for kind in ("tree", "flat"))
    return tree - flat


CLAIM = Claim(
    paper="arXiv 2509.06040",
    parts=("fork", "tree", "window"),
    recipe="branchgrpo",
    says="an iteration takes 493 s where DanceGRPO takes 698 s, with pruning 314 s; HPS .363-.369 over .360",
    claim="on 32x32 images, after as many network evaluations, a tree earns more on captions that training "
    "has not seen than a flat group, each with or without a window, by",
    target=0.0,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train,
    score=lambda row: row["reward"],
    work="network evaluations of sampling and learning",
    run=run,
    headline=headline,
    units=1,
)
