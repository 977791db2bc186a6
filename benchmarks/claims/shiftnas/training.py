"""Arms of the claim: how each step's architectures are drawn, what it costs, and errors by bin of cost.

A unit of budget is a multiply-add of the drawn network for one image of a step: a step of 64 images, forward
and backward, is charged the network's multiply-adds once. A look at validation is 64 images forward for each
bin, a third of a pass, and is charged a third of these networks' multiply-adds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks.claims.shiftnas.network import BATCH, CLASSES, FlatSupernet, search_space
from oneloop.models.supernet import Bin, SearchSpace
from oneloop.models.supernet.draws import sample_operations
from oneloop.sample.plan.draw.progress import Progress
from oneloop.sample.plan.draw.progress_chances import ProgressChances

BINS, EVERY, LOOKED_AT = 12, 100, 64
LAW_RATES = {"shift": 0.1}
"""Arms that follow the paper's rule, with Adam's learning rate for its logits. At the paper's 1e-3 the logits
of so short a run would move by a hundredth of a nat."""
ARMS = ("per operation", "per bin", "rate", *LAW_RATES, "sandwich")
FLOOR, POWER, SMOOTHING = 0.2, 0.5, 0.7
Widths = list[int]


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits: 1,000 to train, 300 to validate, 497 to test, dealt anew for each seed."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    """(images [n, 64] in 0..1, labels int64 [n]) each."""


def digits(seed: int) -> Digits:
    """The split of `seed`."""
    read = load_digits()
    images, labels = torch.tensor(read.data / 16, dtype=torch.float32), torch.tensor(read.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, validation, test = ((images[part], labels[part]) for part in order.split([1000, 300, 497]))
    return Digits(train, validation, test)


@dataclass(frozen=True)
class Setting:
    """One run."""

    arm: str
    budget: float
    """Units of the module's docstring."""
    learning_rate: float
    """Adam's at the start; it falls in a straight line to 0 at the end of the budget."""
    law_rate: float = 0.0
    """Adam's learning rate for the logits of the bins, where the arm follows the rule shift."""


@dataclass
class Trained:
    """A supernet after its budget."""

    network: FlatSupernet
    spent: float = 0.0
    """Units of the budget."""
    steps: int = 0
    looks: int = 0
    laws: list[tuple[float, list[float]]] = field(default_factory=list)
    """(share of the budget spent, probabilities of the bins) after each look."""


def bins(space: SearchSpace) -> tuple[Bin, ...]:
    """Twelve bins of equal width."""
    return space.bins(BINS)


def networks_by_bin(space: SearchSpace, each: int, seed: int) -> list[list[Widths]]:
    """`each` architectures of every bin, drawn exactly."""
    generator = torch.Generator().manual_seed(seed)
    return [[list(space.sample(generator, *bin).values()) for _ in range(each)] for bin in bins(space)]


def chances(setting: Setting) -> ProgressChances:
    """The law of the bins that the arm follows."""
    rule: Literal["rate", "shift", "uniform"] = "uniform"
    if setting.arm == "rate":
        rule = "rate"
    elif setting.law_rate:
        rule = "shift"
    law = Progress(rule=rule, floor=FLOOR, power=POWER, smoothing=SMOOTHING, lr=setting.law_rate or 1.0)
    return law.chances(range(BINS))


def drawing(
    setting: Setting, space: SearchSpace, law: ProgressChances, seed: int
) -> Callable[[int], tuple[int, list[Widths]]]:
    """step -> (bin or -1, the architectures to train)."""
    generator, ranges = torch.Generator().manual_seed(seed), bins(space)
    whole, least = ([choice.values[end] for choice in space.choices.values()] for end in (-1, 0))

    def per_operation() -> Widths:
        return list(sample_operations(space, generator).values())

    def draw(step: int) -> tuple[int, list[Widths]]:
        if setting.arm == "per operation":
            return -1, [per_operation()]
        if setting.arm == "sandwich":
            return -1, [whole, per_operation(), per_operation(), least]
        place = int(law.draw(seed, step))
        return place, [list(space.sample(generator, *ranges[place]).values())]

    return draw


def batches(data: Digits, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (images, one-hot labels) of 64."""
    images, labels = data.train
    hot, generator = torch.eye(CLASSES)[labels], torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(images), generator=generator).split(BATCH)[:-1]:
            yield images[rows], hot[rows]


def train(setting: Setting, data: Digits, seed: int) -> Trained:
    """Trains until the budget is spent, looks at validation included."""
    space, law = search_space(), chances(setting)
    names = list(space.choices)
    made = Trained(FlatSupernet(seed))
    draw, feed = drawing(setting, space, law, seed), batches(data, seed)
    watched = [found[0] for found in networks_by_bin(space, 1, seed + 1000)]
    look_cost = sum(space.cost(dict(zip(names, widths, strict=True))) for widths in watched) / 3
    drawn = torch.zeros(BINS)
    while made.spent < setting.budget:
        images, targets = next(feed)
        place, networks = draw(made.steps)
        rate = setting.learning_rate * (1 - made.spent / setting.budget)
        for widths in networks:
            found = made.network.accumulate(images, targets, widths)
            if len(networks) > 1 and widths is networks[0]:
                targets = found  # the others learn from the largest, in place
            made.spent += space.cost(dict(zip(names, widths, strict=True)))
        made.network.step(rate)
        made.steps += 1
        drawn[place] += 1
        if (setting.arm == "rate" or setting.law_rate) and made.steps % EVERY == 0:
            law.observe([_loss(made.network, data, widths) for widths in watched], drawn.numpy())
            drawn, made.looks = torch.zeros(BINS), made.looks + 1
            made.spent += look_cost
            made.laws.append((made.spent / setting.budget, law.probabilities.tolist()))
    return made


def _loss(network: FlatSupernet, data: Digits, widths: Widths) -> float:
    """Mean validation loss on the images that are looked at."""
    images, labels = (part[:LOOKED_AT] for part in data.validation)
    return float(torch.nn.functional.cross_entropy(network.logits(images, widths), labels))


def errors(network: FlatSupernet, part: tuple[Tensor, Tensor], networks: list[list[Widths]]) -> Tensor:
    """Share of wrong answers [bins], the mean over the networks of each bin."""
    images, labels = part
    wrong = [
        [(network.logits(images, widths).argmax(1) != labels).float().mean() for widths in found]
        for found in networks
    ]
    return torch.tensor(wrong).mean(1)
