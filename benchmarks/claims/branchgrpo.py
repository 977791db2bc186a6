"""BranchGRPO against flat groups on 8x8 digits at equal network evaluations (arXiv 2509.06040).

A small flow network learns scikit-learn's digits, then is rewarded for drawing another digit than the prompt
says, five further on: "1" wants a 6, "7" wants a 2. The reward is the probability that a classifier gives to
that digit; the network begins at next to nothing and no arm is done when the budget is spent. 16 images a
prompt, 20 steps:
    flat            16 chains from one start (a fork at step 0)
    flat, window    the same; noise is drawn, and learned from, in four steps alone, which move (MixGRPO)
    tree            forks at 0, 3, 6 and 9, each depth standardised by itself
    tree, window    the same with noise at forks and in that window alone (the paper's mixture)
Each trains until it has spent `BUDGET` evaluations of the network: those of sampling, plus one for each
action that is learned from, as the paper counts. Afterwards 256 new images are drawn for the same ten prompts
(there are no others): `reward` is what was trained on, `reader` the same probability by a classifier of which
training knows nothing, by which arms are tuned and compared; both for images with noise in every step, as in
training, and `greedy` without. On scenes of 32x32 pixels, with captions that training has not seen:
branchgrpo_shapes.py. Not here: large images, the paper's rewards.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from oneloop.core.meter import Meter
from oneloop.core.protocols import Part
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.tree import Tree
from oneloop.loop import Loop
from oneloop.models.flow.flow_mlp import FlowMlp
from oneloop.run.evaluation import held_out
from oneloop.sample.data.digits import Digits, load, rows_of
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.dress.window import Window
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

FURTHER = 5
"""How many digits further on than the prompt says is the one that is wanted."""
LEAVES, STEPS, PRETRAINING = 16, 20, 1200
OBJECTIVE = PolicyGradient(clip_low=1e-3, clip_high=1e-3)


@dataclass(frozen=True)
class Method:
    """How a group is sampled and credited."""

    fork: Fork
    credit: Part = Tree()
    window: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What is drawn and rewarded, and how much of it."""

    data: Any
    judge: Callable[[], Callable[[Rollouts], Rollouts]]
    minibatches: int
    """Optimiser steps of a batch."""
    prompts: int = 8
    """In a batch."""
    iterations: int = 50
    """At most, of training."""


FLAT = Fork(steps=(0,), factor=LEAVES, correlation=0)
MOVING = Window(every=2)
ARMS = {
    "flat": Method(FLAT, GroupRelative()),
    "flat, window": Method(FLAT, GroupRelative(), window=(MOVING,)),
    "tree": Method(Fork()),
    "tree, window": Method(Fork(), window=(MOVING,)),
}
RATES = (5e-5, 1.5e-4, 5e-4, 1.5e-3)
BUDGET = 40_000
"""Evaluations of the network that training takes, to the end of a batch."""
ROWS, EACH = 64, 4
"""Prompts for which images are drawn afterwards, and images of each."""


@cache
def reader(seed: int) -> Callable[[Rollouts], Tensor]:
    """A classifier's probability of the wanted digit, [n]; 0 is the reward, no other one is trained on."""
    from sklearn.neural_network import MLPClassifier

    images, labels = load()
    unseen = rows_of("test")
    classifier = MLPClassifier((64,), alpha=1e-2, max_iter=1000, random_state=seed)
    # in float64: hundreds of steps in fp32 make another classifier of every CPU's rounding
    classifier.fit(images[unseen].reshape(len(unseen), -1).astype(np.float64), labels[unseen])

    def probability(rollouts: Rollouts) -> Tensor:
        wanted = torch.tensor([(int(row["prompt"]) + FURTHER) % 10 for row in rollouts.example])
        law = torch.from_numpy(classifier.predict_proba(rollouts.output.flatten(1).numpy())).double()
        return law.gather(1, wanted[:, None])[:, 0]

    return probability


def judge() -> Callable[[Rollouts], Rollouts]:
    """The reward; it never sees what the policy is trained on."""
    return lambda rollouts: rollouts.put(reward=reader(0)(rollouts))


DIGITS = Setting(data=Digits(), judge=judge, minibatches=4)


def plan(setting: Setting, method: Method, seed: int, steps: int) -> Plan:
    """Asks for a batch of trees."""
    made = Plan(
        data=setting.data,
        groups=setting.prompts,
        count=Uniform(n=method.fork.leaves),
        dress=(method.fork, *method.window),
    )
    made.begin(seed, steps)
    return made


@cache
def pretrained(seed: int) -> FlowPolicy:
    """A policy that draws digits, taught on four fifths of them by flow matching."""
    policy = Flow(model=FlowMlp(seed=seed), steps=STEPS, level=0.6, device="cpu").open()
    optimiser = torch.optim.Adam(policy.model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, PRETRAINING)
    images, labels = load()
    shown, draw = torch.from_numpy(rows_of("train")), torch.Generator().manual_seed(seed)
    words = policy.network.encode([{"prompt": str(label)} for label in labels])["words"]
    pixels = torch.from_numpy(images) * 2 - 1
    for _ in range(PRETRAINING):
        rows = shown[torch.randint(len(shown), (128,), generator=draw)]
        noise = torch.randn(128, 1, 8, 8, generator=draw)
        sigma = torch.rand(128, generator=draw)
        level, data = sigma.view(-1, 1, 1, 1), pixels[rows]
        velocity = policy.model((1 - level) * data + level * noise, sigma, {"words": words[rows]})
        optimiser.zero_grad()
        (velocity - (noise - data)).square().mean().backward()
        optimiser.step()
        schedule.step()
    return policy


def copied(start: FlowPolicy) -> FlowPolicy:
    """Another policy with the same weights."""
    policy = copy.copy(start)
    policy.model = policy.network = copy.deepcopy(start.network)
    policy.meter = Meter()
    return policy


def evaluations(sampled: float, batch: Rollouts) -> float:
    """Calls to sample a batch, and one for each action that is learned from."""
    return sampled + int((batch.actions.share > 0).sum())


def trained(
    setting: Setting, start: FlowPolicy, method: Method, rate: float, seed: int, budget: float
) -> tuple[FlowPolicy, Row]:
    """(a copy of `start`, trained until `budget` evaluations are spent; batches and work that took)."""
    policy = copied(start)
    learning = Learning(learning_rate=rate, minibatches=setting.minibatches)
    learner = Learner(cast(Any, policy), [OBJECTIVE], learning, setting.iterations)
    asking, spent, sampled = plan(setting, method, seed, setting.iterations), 0.0, [0.0]

    def sample(asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        before = policy.meter.total
        made = policy.sample(asked)
        sampled.append(policy.meter.total - before)
        return made

    loop = Loop(asking, sample, setting.judge(), [method.credit], learner)
    for batch in loop.run(setting.iterations):
        spent += evaluations(sampled[-1], batch)
        if spent >= budget:
            break
    return policy, {"batches": len(sampled) - 1.0, "work": spent}


def train(arm: str, rate: float, seed: int) -> Row:
    """One arm on digits until `BUDGET` is spent, and what it draws then."""
    policy, row = trained(DIGITS, pretrained(seed), ARMS[arm], rate, seed, BUDGET)
    return {**measured(policy, seed), **row}


def measured(policy: FlowPolicy, seed: int) -> dict[str, float]:
    """What the reward and a second reader say of new images."""
    asked = held_out(DIGITS.data, ROWS, EACH, seed)
    images = policy.sample(asked)[0]
    with policy.greedy():
        without = policy.sample(asked)[0]
    return {
        "reward": float(reader(0)(images).mean()),
        "reader": float(reader(1)(images).mean()),
        "greedy: reward": float(reader(0)(without).mean()),
        "greedy: reader": float(reader(1)(without).mean()),
    }


def run(seed: int, advance: Advance) -> Rows:
    """What the network draws before."""
    rows = {"before": measured(pretrained(seed), seed)}
    advance(f"seed {seed}: before")
    return rows


def headline(rows: Rows) -> float:
    """What the reader says of the better tree's images less that of the better flat arm's."""
    tree, flat = (max(rows[kind + more]["reader"] for more in ("", ", window")) for kind in ("tree", "flat"))
    return tree - flat


CLAIM = Claim(
    paper="arXiv 2509.06040",
    parts=("fork", "tree", "window"),
    recipe="branchgrpo",
    says="an iteration takes 493 s where DanceGRPO takes 698 s, with pruning 314 s; HPS .363-.369 over .360",
    claim="after as many network evaluations a reader that nothing is trained on finds the wanted digit in "
    "the images of a tree with a probability above that of a flat group, each with or without a window, by",
    target=0.0,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train,
    score=lambda row: row["reader"],
    work="network evaluations of sampling and learning",
    run=run,
    headline=headline,
    units=1,
)
