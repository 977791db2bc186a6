"""One network for three editing tasks: taught without a judge, trained with one, measured against itself.

The base learns by flow matching to fill boxes and to draw borders anew, each with the image's own prompt;
removal's prompt it has never seen. Training is the loop itself: the mixture of tasks, rollouts that stop
early, a reference that draws the same prompt, the objective `reward_backprop`. The win-rate is of whole
images of the policy against whole images of the base, each from its own noise, by the true scores.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.claims.onereward.scores import PAIRS, TASKS, DigitScores
from oneloop.core import draws
from oneloop.judge.pairwise.preferences import wins
from oneloop.judge.preference import Preference
from oneloop.loop import Loop
from oneloop.models.flow.flow_mlp import FlowMlp
from oneloop.models.judges.pair_mlp import PairMlp
from oneloop.run.evaluation import held_out
from oneloop.run.metrics import batch_metrics
from oneloop.sample.data.digits import Digits
from oneloop.sample.data.edits import Edits
from oneloop.sample.data.mixture import Mixture, Portion
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.stop import Stop
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.reward_backprop import RewardBackprop

STEPS = 10
WEIGHTS = {"fill": 0.5, "extend": 0.25, "remove": 0.25}


@dataclass(frozen=True)
class Method:
    """One way of training with a judge; the paper's where nothing is said."""

    query: bool = True
    bound: float | None = 0.9
    stop: tuple[int, int] = (5, 9)
    decay: float | None = None
    learning_rate: float = 2e-4


@dataclass(frozen=True)
class Setting:
    """What is edited, by which network, what its people want, and how much of everything."""

    data: Callable[[str], Any]
    """Of "train" or "test": images with prompts."""
    network: Callable[[int], Any]
    """Of a seed: the model, which takes a condition."""
    judge: Callable[..., Any]
    """Of `query` and `reader`: the judge that knows the true scores."""
    pretraining: int = 1000
    """Steps the base is taught, with images `taught` at a time, `copies` masks of each."""
    taught: int = 128
    copies: int = 4
    iterations: int = 60
    """Steps on a judge, of `batch` prompts."""
    batch: int = 64
    paired: int = 1000
    """Pairs of a task a win-rate is counted on."""
    rater: Callable[..., PairMlp] = PairMlp
    """Of `seed`, `query` and `noise`: a judge that learns what people want in `lessons` steps, from `sets` of
    candidates a task less `held_out` pairs a criterion."""
    sets: int = 6000
    held_out: int = 500
    lessons: int = 2000


DIGITS = Setting(
    data=lambda split: Digits(split="train" if split == "train" else "test"),
    network=lambda seed: FlowMlp(condition_channels=2, seed=seed),
    judge=DigitScores,
)


@cache
def tasks(setting: Setting, split: str) -> dict[str, Edits]:
    """The three tasks over the images of a split."""
    return {name: Edits(of=setting.data(split), task=cast(Any, name)) for name in TASKS}


def mixture(setting: Setting, seed: int) -> Mixture:
    """The tasks as the paper draws them: fill twice as often."""
    made = tasks(setting, "train")
    sets = tuple(Portion(data=made[name], weight=weight) for name, weight in WEIGHTS.items())
    return Mixture(sets=sets, size=8192, seed=seed)


def flow(setting: Setting, seed: int, decay: float | None = None, beside: bool = True) -> Flow:
    """The policy's options; `beside`: a reference draws every prompt too."""
    return Flow(
        model=setting.network(seed),
        steps=STEPS,
        shift=1.0,
        noise="ode",
        beside_reference=beside,
        reference_decay=decay,
        composite=True,
        device="cpu",
    )


@cache
def lessons(setting: Setting) -> tuple[Tensor, dict[str, Tensor]]:
    """(images as latents [n, C, H, W], conditions) of both generating tasks."""
    network, rows = flow(setting, 0).open().network, list[dict[str, Any]]()
    images = setting.data("train")
    for name in ("fill", "extend"):
        for seed in range(setting.copies):
            data = Edits(of=images, task=cast(Any, name), asked="own", seed=1000 + seed)
            rows += [data[key] for key in range(len(data))]
    pixels = torch.from_numpy(np.stack([row["image"] for row in rows]))
    return pixels * 2 - 1, network.encode(rows)


def taught(setting: Setting, seed: int) -> FlowPolicy:
    """The base: flow matching on fills and extensions."""
    policy, draw = flow(setting, seed).open(), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(policy.model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, setting.pretraining)
    data, condition = lessons(setting)
    for _ in range(setting.pretraining):
        rows = torch.randint(len(data), (setting.taught,), generator=draw)
        noise = torch.randn(setting.taught, *data.shape[1:], generator=draw)
        sigma = torch.rand(setting.taught, generator=draw)
        level = sigma.view(-1, 1, 1, 1)
        told = {name: value[rows] for name, value in condition.items()}
        velocity = policy.model((1 - level) * data[rows] + level * noise, sigma, told)
        optimiser.zero_grad()
        (velocity - (noise - data[rows])).square().mean().backward()
        optimiser.step()
        schedule.step()
    return policy


def started(setting: Setting, base: FlowPolicy, decay: float | None) -> FlowPolicy:
    """A copy of `base` with a reference of its own."""
    policy = flow(setting, 0, decay).open()
    policy.network = policy.model = copy.deepcopy(base.network)
    policy.keep_reference()
    return policy


def known(setting: Setting, method: Method) -> Preference:
    """The judge that is right."""
    return Preference(model=setting.judge(query=method.query), tasks=TASKS)


def watcher(setting: Setting) -> Preference:
    """Counts true wins, and is not learned from."""
    return Preference(model=setting.judge(), tasks=TASKS, hard=True, held_out=True, name="truth")


def train(
    setting: Setting, base: FlowPolicy, method: Method, judge: Any, seed: int, task: str = ""
) -> tuple[FlowPolicy, list[dict[str, float]]]:
    """(the copy of `base`, trained on the mixture or on one task; the metrics of each batch)."""
    policy = started(setting, base, method.decay)
    plan = Plan(
        data=tasks(setting, "train")[task] if task else mixture(setting, seed),
        groups=setting.batch,
        count=Uniform(n=1),
        dress=(Stop(first=method.stop[0], last=method.stop[1]),),
    )
    plan.begin(int(draws.mix(seed, "onereward") >> 1), setting.iterations)
    objective = RewardBackprop(judge=judge, bound=method.bound)
    learner = Learner(
        cast(Any, policy),
        [objective],
        Learning(learning_rate=method.learning_rate, betas=(0.9, 0.999)),
        setting.iterations,
    )
    batches = Loop(plan, policy.sample, watcher(setting), [], learner).run(setting.iterations)
    return policy, [batch_metrics(batch) | learner.metrics for batch in batches]


@torch.no_grad()
def drawn(
    setting: Setting, policy: FlowPolicy, task: str, seed: int
) -> tuple[Tensor, Sequence[dict[str, Any]]]:
    """(whole images [paired, C, H, W], their rows) of one task on images that no training has seen."""
    data = tasks(setting, "test")[task]
    copies = -(-setting.paired // len(data))
    asked = held_out(data, len(data), copies, seed).take(torch.arange(setting.paired))
    beside, policy.options = policy.options, flow(setting, 0, beside=False)
    try:
        images = policy.sample(asked)[0].output
    finally:
        policy.options = beside
    return images, asked.example


def rivals_of(setting: Setting, base: FlowPolicy, seed: int) -> dict[str, Tensor]:
    """Whole images of the base by task, from noise of their own."""
    return {task: drawn(setting, base, task, 10**6 + seed)[0] for task in TASKS}


def win_rates(setting: Setting, policy: FlowPolicy, rival: dict[str, Tensor], seed: int) -> dict[str, float]:
    """Of whole images against the base's (`rivals_of`), by task and criterion; `reader 2` by an eye for
    alignment that nobody is trained against."""
    found: dict[str, float] = {}
    readers = [setting.judge(reader=reader).build() for reader in (0, 1)]
    for task in TASKS:
        images, rows = drawn(setting, policy, task, seed)
        own, other = (readers[0].scores(some, rows) for some in (images, rival[task]))
        for criterion in TASKS[task]:
            found[f"{task}, {criterion}"] = float(wins(own[criterion], other[criterion]).mean())
        if task == "fill":
            second = (readers[1].scores(some, rows)["text_alignment"] for some in (images, rival[task]))
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
