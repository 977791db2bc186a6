"""One network for three editing tasks on digits: taught without a judge, trained with one, measured against
itself.

The base learns by flow matching to fill boxes and to draw borders anew, each with the digit's own name;
removal's prompt it has never seen. Training is the loop itself: the mixture of tasks, rollouts that stop
early, a reference that draws the same prompt, the objective `reward_backprop`. The win-rate is of whole
images of the policy against whole images of the base, each from its own noise, by the true scores.
"""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from oneloop import counter
from oneloop.claims.onereward.scores import PAIRS, TASKS, DigitScores, scores
from oneloop.data.digits import Digits
from oneloop.data.edits import Edits
from oneloop.data.mixture import Mixture, Weighted
from oneloop.evaluation import held_out
from oneloop.judge.preference import Preference
from oneloop.learner import Learner, Learning
from oneloop.loop import Loop
from oneloop.metrics import batch_metrics
from oneloop.models.flow_mlp import FlowMlp
from oneloop.objective.reward_backprop import RewardBackprop
from oneloop.plan.plan import Plan
from oneloop.plan.stop import Stop
from oneloop.plan.uniform import Uniform
from oneloop.policies.flow import Flow, FlowPolicy
from oneloop.tools.preferences import wins

STEPS, BATCH = 10, 64
PRETRAINING, ITERATIONS, PAIRED = 1000, 60, 1000
WEIGHTS = {"fill": 0.5, "extend": 0.25, "remove": 0.25}


@dataclass(frozen=True)
class Method:
    """One way of training with a judge; the paper's where nothing is said."""

    query: bool = True
    bound: float | None = 0.9
    stop: tuple[int, int] = (5, 9)
    decay: float | None = None
    learning_rate: float = 2e-4


@cache
def tasks(split: str, own: bool = False) -> dict[str, Edits]:
    """The three tasks over digits; `own`: with what the image itself shows, to learn from."""
    digits = Digits(split="train" if split == "train" else "test")
    asked = "own" if own else None
    return {name: Edits(of=digits, task=cast(Any, name), asked=cast(Any, asked)) for name in TASKS}


def mixture(seed: int) -> Mixture:
    """The tasks as the paper draws them: fill twice as often."""
    made = tasks("train")
    sets = tuple(Weighted(data=made[name], weight=weight) for name, weight in WEIGHTS.items())
    return Mixture(sets=sets, size=8192, seed=seed)


def opened(seed: int, decay: float | None = None) -> FlowPolicy:
    """An untaught network."""
    model = FlowMlp(condition_channels=2, seed=seed)
    return Flow(
        model=model,
        steps=STEPS,
        shift=1.0,
        noise="ode",
        beside_reference=True,
        reference_decay=decay,
        composite=True,
        device="cpu",
    ).open()


@cache
def lessons(copies: int = 4) -> tuple[Tensor, dict[str, Tensor]]:
    """(images as latents [n, 1, 8, 8], conditions) of both generating tasks, `copies` masks of each digit."""
    network, rows = opened(0).network, list[dict[str, Any]]()
    for name in ("fill", "extend"):
        for seed in range(copies):
            data = Edits(of=Digits(), task=cast(Any, name), asked="own", seed=1000 + seed)
            rows += [data[key] for key in range(len(data))]
    images = torch.from_numpy(np.stack([row["image"] for row in rows]))
    return images * 2 - 1, network.encode(rows)


def taught(seed: int) -> FlowPolicy:
    """The base: flow matching on fills and extensions."""
    policy, draw = opened(seed), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(policy.model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, PRETRAINING)
    data, condition = lessons()
    for _ in range(PRETRAINING):
        rows = torch.randint(len(data), (128,), generator=draw)
        noise, sigma = torch.randn(128, 1, 8, 8, generator=draw), torch.rand(128, generator=draw)
        level = sigma.view(-1, 1, 1, 1)
        told = {name: value[rows] for name, value in condition.items()}
        velocity = policy.model((1 - level) * data[rows] + level * noise, sigma, told)
        optimiser.zero_grad()
        (velocity - (noise - data[rows])).square().mean().backward()
        optimiser.step()
        schedule.step()
    return policy


def started(base: FlowPolicy, decay: float | None) -> FlowPolicy:
    """A copy of `base` with a reference of its own."""
    policy = opened(0, decay)
    policy.network = policy.model = copy.deepcopy(base.network)
    policy.keep_reference()
    return policy


def known(method: Method, reader: int = 0, **options: Any) -> Preference:
    """The judge that is right."""
    return Preference(model=DigitScores(query=method.query, reader=reader), tasks=TASKS, **options)


def watcher() -> Preference:
    """Counts true wins, and is not learned from."""
    return Preference(model=DigitScores(), tasks=TASKS, hard=True, held_out=True, name="truth")


def train(
    base: FlowPolicy, method: Method, judge: Any, seed: int
) -> tuple[FlowPolicy, list[dict[str, float]]]:
    """(the trained copy of `base`, the metrics of each batch)."""
    policy = started(base, method.decay)
    plan = Plan(
        data=mixture(seed),
        groups=BATCH,
        count=Uniform(n=1),
        dress=(Stop(first=method.stop[0], last=method.stop[1]),),
    )
    plan.begin(int(counter.mix(seed, "onereward") >> 1), ITERATIONS)
    objective = RewardBackprop(judge=judge, bound=method.bound)
    learner = Learner(
        cast(Any, policy),
        [objective],
        Learning(learning_rate=method.learning_rate, betas=(0.9, 0.999)),
        ITERATIONS,
    )
    batches = Loop(plan, policy.sample, watcher(), [], learner).run(ITERATIONS)
    return policy, [batch_metrics(batch) | learner.metrics for batch in batches]


@torch.no_grad()
def drawn(policy: FlowPolicy, task: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(whole images [PAIRED, 1, 8, 8], conditions, labels) of one task on digits that no training has
    seen."""
    data = tasks("test")[task]
    copies = -(-PAIRED // len(data))
    asked = held_out(data, len(data), copies, seed).take(torch.arange(PAIRED))
    beside, policy.options = policy.options, PLAIN
    try:
        images = policy.sample(asked)[0].output
    finally:
        policy.options = beside
    condition = torch.from_numpy(np.stack([row["condition"] for row in asked.example]))
    return images, condition, torch.tensor([int(row["label"]) for row in asked.example])


PLAIN = Flow(
    model=FlowMlp(condition_channels=2), steps=STEPS, shift=1.0, noise="ode", composite=True, device="cpu"
)


def rivals_of(base: FlowPolicy, seed: int) -> dict[str, Tensor]:
    """Whole images of the base by task, from noise of their own."""
    return {task: drawn(base, task, 10**6 + seed)[0] for task in TASKS}


def win_rates(policy: FlowPolicy, rival: dict[str, Tensor], seed: int) -> dict[str, float]:
    """Of whole images against the base's (`rivals_of`), by task and criterion; `reader 2` by a classifier
    nobody is trained against."""
    found: dict[str, float] = {}
    for task in TASKS:
        images, condition, labels = drawn(policy, task, seed)
        rivals = rival[task]
        own, other = scores(images, condition, labels), scores(rivals, condition, labels)
        for criterion in TASKS[task]:
            found[f"{task}, {criterion}"] = float(wins(own[criterion], other[criterion]).mean())
        if task == "fill":
            second = (scores(image, condition, labels, 1)["text_alignment"] for image in (images, rivals))
            found["fill, reader 2"] = float(wins(*second).mean())
    return found | summary(found)


def judged(history: list[dict[str, float]], judge: str) -> float:
    """Mean over batches of the mean over tasks and criteria of what a judge said of a batch."""
    means = []
    for line in history:
        said = [line[name] for t, c in PAIRS if (name := f"win_rate/{judge}/{t}/{c}") in line]
        means.append(sum(said) / len(said))
    return sum(means) / len(means)


def summary(found: dict[str, float]) -> dict[str, float]:
    """The worst of the five win-rates and their mean."""
    each = [found[f"{task}, {criterion}"] for task, criterion in PAIRS]
    return {"worst": min(each), "mean": sum(each) / len(each)}
