"""BranchGRPO against flat groups on 8x8 digits at equal network evaluations (arXiv 2509.06040).

A small flow network learns scikit-learn's digits, then is rewarded for drawing 0, 6, 8 or 9 whatever the
prompt says: the probability an independent classifier gives to those four. 16 images a prompt, 20 steps:
    flat            16 chains from one start (a fork at step 0)
    flat, window    the same; noise is drawn, and learned from, in four steps alone, which move (MixGRPO)
    tree            forks at 0, 3, 6 and 9, each depth standardised by itself
    tree, window    the same with noise at forks and in that window alone (the paper's mixture)
Each trains until it has spent `BUDGET` evaluations of the network: those of sampling, plus one for each
action that is learned from, as the paper counts. Afterwards 256 new images are drawn: `reward` is what it was
trained on, `reader` the same probability by a classifier of which training knows nothing, by which arms are
tuned and compared. On scenes of 32x32 pixels: branchgrpo_shapes.py. Not here: large images, the paper's
rewards.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from oneloop.loop import Loop, leave_out
from oneloop.models.flow.flow_mlp import FlowMlp
from oneloop.sample.data.digits import Digits, load, rows_of
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.dress.window import Window
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.update.averaging import action_weights
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

WANTED = [0, 6, 8, 9]
LEAVES, STEPS, PRETRAINING = 16, 20, 1200
OBJECTIVE = PolicyGradient(clip_low=1e-3, clip_high=1e-3)


@dataclass(frozen=True)
class Method:
    """How a group is sampled, credited and pruned; `trained`: whether it is trained to the threshold too."""

    fork: Fork
    credit: Part = Tree()
    select: tuple[Part, ...] = ()
    trained: bool = False
    window: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What is drawn and rewarded, and how much of it."""

    data: Any
    judge: Callable[[], Callable[[Rollouts], Rollouts]]
    learning: Learning
    reached: Callable[[float], float]
    """The reward to train to, of the mean reward at the start."""
    goal: str
    """What the column of evaluations to that reward is called."""
    prompts: int = 8
    """In a batch."""
    iterations: int = 50
    """At most, of training."""
    samples: int = 80
    """Prompts whose gradients are taken."""
    averaged: int = 5
    """Batches whose mean reward is compared."""


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
DRAWN = 2
"""Batches of images drawn afterwards."""


@cache
def reader(seed: int) -> Callable[[Rollouts], Tensor]:
    """A classifier's probability of the wanted digits, [n]; 0 is the reward, no other one is trained on."""
    from sklearn.neural_network import MLPClassifier

    images, labels = load()
    held_out = rows_of("test")
    classifier = MLPClassifier((64,), alpha=1e-2, max_iter=1000, random_state=seed)
    # in float64: hundreds of steps in fp32 make another classifier of every CPU's rounding
    classifier.fit(images[held_out].reshape(len(held_out), -1).astype(np.float64), labels[held_out])
    return lambda rollouts: torch.from_numpy(
        classifier.predict_proba(rollouts.output.flatten(1).numpy())[:, WANTED].sum(1)
    ).double()


def judge() -> Callable[[Rollouts], Rollouts]:
    """The reward; it never sees what the policy is trained on."""
    return lambda rollouts: rollouts.put(reward=reader(0)(rollouts))


DIGITS = Setting(
    data=Digits(),
    judge=judge,
    learning=Learning(learning_rate=5e-5, minibatches=4),
    reached=lambda start: 0.8,
    goal="to .8",
)


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


@dataclass(frozen=True)
class Gradients:
    """Of one prompt's rollouts each, at the present weights."""

    rows: Tensor
    """[samples, weights]."""
    evaluations: float
    """Of a prompt."""
    reward: float
    """Mean of all rollouts."""


def gradients(setting: Setting, policy: FlowPolicy, method: Method, seed: int) -> Gradients:
    """Of `setting.samples` prompts."""
    batches = setting.samples // setting.prompts
    asking, rows, learned = plan(setting, method, seed, batches), list[Tensor](), 0.0
    rewards = []
    for _ in range(batches):
        asked, start = asking.ask(), policy.meter.total
        assert asked is not None
        finished, unfinished = policy.sample(asked)
        sampled = policy.meter.total - start
        asking.tell(setting.judge()(finished), unfinished)
        batch = asking.batch()
        for part in (method.credit, *method.select, leave_out):
            batch = part(batch)  # type: ignore[arg-type]
        assert batch is not None
        rows += [gradient(policy, batch.take(batch.group == group)) for group in batch.group.unique()]
        learned += evaluations(sampled, batch)
        rewards.append(float(batch.reward.mean()))
    return Gradients(torch.stack(rows), learned / len(rows), sum(rewards) / len(rewards))


def gradient(policy: FlowPolicy, batch: Rollouts) -> Tensor:
    """[weights], of the loss as the learner weighs it, all steps in one call."""
    policy.model.zero_grad()
    weight = action_weights(OBJECTIVE, batch)
    actions = (weight > 0).nonzero().squeeze(1)
    loss, _ = OBJECTIVE(policy.at(batch, actions), batch, actions)
    (loss * weight[actions].to(loss)).sum().backward()
    return torch.cat([w.grad.flatten() for w in policy.model.parameters() if w.grad is not None])


def signal_to_noise(rows: Tensor) -> float:
    """|mean|^2 / trace of the covariance of `rows` [m, weights], unbiased in both."""
    noise = rows.double().var(0).sum()
    return float((rows.double().mean(0).square().sum() - noise / len(rows)) / noise)


def train(setting: Setting, start: FlowPolicy, method: Method, seed: int, goal: float) -> dict[str, float]:
    """Trains a copy of `start` until the mean reward `goal`, or for all batches (the column is what was
    spent)."""
    policy = copied(start)
    learner = Learner(cast(Any, policy), [OBJECTIVE], setting.learning, setting.iterations)
    asking, spent, rewards = plan(setting, method, seed, setting.iterations), [0.0], list[float]()

    def sample(asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        before = policy.meter.total
        made = policy.sample(asked)
        spent.append(policy.meter.total - before)
        return made

    total, width = 0.0, setting.averaged
    loop = Loop(asking, sample, setting.judge(), [method.credit, *method.select], learner)
    for batch in loop.run(setting.iterations):
        total += evaluations(spent[-1], batch)
        rewards.append(float(batch.reward.mean()))
        if len(rewards) >= width and sum(rewards[-width:]) / width >= goal:
            break
    return {setting.goal: total / 1000, "batches": len(rewards), "reward": sum(rewards[-width:]) / width}


def compared(
    setting: Setting, start: FlowPolicy, methods: Mapping[str, Method], seed: int, advance: Advance
) -> Rows:
    """Every method's row: evaluations a batch, signal to noise, and what training took; and the tree's over
    the flat group's."""
    rows: dict[str, dict[str, float]] = {}
    goal = math.nan
    for name, method in methods.items():
        found = gradients(setting, start, method, seed)
        goal = setting.reached(found.reward) if math.isnan(goal) else goal
        ratio, each = signal_to_noise(found.rows), found.evaluations
        rows[name] = {"evaluations": each * setting.prompts, "signal": ratio, "per 1000": 1000 * ratio / each}
        if method.trained:
            rows[name] |= train(setting, start, method, seed, goal)
        advance(f"seed {seed}: {name}")
    flat, tree = rows["flat"], rows["tree"]
    rows["tree over flat"] = {column: tree[column] / flat[column] for column in flat}
    return rows


def train_arm(arm: str, rate: float, seed: int) -> Row:
    """One arm on digits until `BUDGET` is spent, and what it draws then."""
    method, setting, policy = ARMS[arm], DIGITS, copied(pretrained(seed))
    learning = replace(setting.learning, learning_rate=rate)
    learner = Learner(cast(Any, policy), [OBJECTIVE], learning, setting.iterations)
    asking, spent, sampled = plan(setting, method, seed, setting.iterations), 0.0, [0.0]

    def sample(asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        before = policy.meter.total
        made = policy.sample(asked)
        sampled.append(policy.meter.total - before)
        return made

    loop = Loop(asking, sample, setting.judge(), [method.credit, *method.select], learner)
    for batch in loop.run(setting.iterations):
        spent += evaluations(sampled[-1], batch)
        if spent >= BUDGET:
            break
    return measured(policy, seed) | {"batches": len(sampled) - 1.0, "work": spent}


def measured(policy: FlowPolicy, seed: int) -> dict[str, float]:
    """Mean reward of new images, and what a second reader says of them."""
    asking, images = plan(DIGITS, ARMS["flat"], 10**6 + seed, DRAWN), list[Rollouts]()
    for _ in range(DRAWN):
        asked = asking.ask()
        assert asked is not None
        images.append(policy.sample(asked)[0])
        asking.tell(DIGITS.judge()(images[-1]), images[-1].take(torch.zeros(0, dtype=torch.long)))
        asking.batch()
    names = {"reward": 0, "reader": 1}
    return {
        name: float(torch.cat([reader(place)(some) for some in images]).mean())
        for name, place in names.items()
    }


def run(seed: int, advance: Advance) -> Rows:
    """What the network draws before."""
    return {"before": measured(pretrained(seed), seed)}


def headline(rows: Rows) -> float:
    """What the reader says of the better tree's images less that of the better flat arm's."""
    tree, flat = (max(rows[kind + more]["reader"] for more in ("", ", window")) for kind in ("tree", "flat"))
    return tree - flat


CLAIM = Claim(
    paper="arXiv 2509.06040",
    parts=("fork", "tree", "prune"),
    recipe="branchgrpo",
    says="an iteration takes 493 s where DanceGRPO takes 698 s, with pruning 314 s; HPS .363-.369 over .360",
    claim="after as many network evaluations a reader that nothing is trained on finds the wanted digits in "
    "the images of a tree with a probability above that of a flat group, each with or without a window, by",
    target=0.0,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train_arm,
    score=lambda row: row["reader"],
    work="network evaluations of sampling and learning",
    run=run,
    headline=headline,
    units=1,
)
