"""A judge learned from best-of-4 and worst-of-4 pairs, with and without the query, and what becomes of a
policy that is trained to please it.

Candidates are whole images of the base; a criterion's annotator picks the best and the worst by the true
score, and ties are dropped. Pairs of all criteria are one data set, one image may win by one and lose by
another.
"""

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.claims.onereward import editing
from benchmarks.claims.onereward.editing import Setting
from benchmarks.claims.onereward.scores import TASKS
from oneloop.judge.pairwise.preferences import best_worst_pairs, judge_loss
from oneloop.judge.pairwise.questions import Question
from oneloop.judge.preference import Preference
from oneloop.models.judges.pair_mlp import PairMlpNetwork
from oneloop.sample.policies.denoising.policy import FlowPolicy

CANDIDATES, JUDGE_BATCH = 4, 128


@dataclass(frozen=True)
class Trained:
    """A network that is there already, where a part of `models` is asked for."""

    network: PairMlpNetwork

    def build(self) -> PairMlpNetwork:
        """The network itself."""
        return self.network


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs of one criterion of one task."""

    winner: Tensor
    loser: Tensor
    told: tuple[Tensor, Tensor, Tensor]
    """What the judge is told: question, condition, label."""

    def __len__(self) -> int:
        return len(self.winner)

    def take(self, rows: Tensor) -> "Pairs":
        """These pairs."""
        return Pairs(self.winner[rows], self.loser[rows], cast(Any, tuple(each[rows] for each in self.told)))


@torch.no_grad()
def drawn(policy: FlowPolicy, condition: dict[str, Tensor], seed: int) -> Tensor:
    """Whole images [b, C, H, W] of encoded conditions, by the ODE."""
    count = len(condition["words"])
    latent = torch.randn(count, *policy.network.shape, generator=torch.Generator().manual_seed(seed))
    for sigma, after in zip(policy.sigmas, policy.sigmas[1:], strict=False):
        velocity = policy.velocity(latent, torch.full((count,), sigma), condition)
        latent = latent + (after - sigma) * velocity
    return policy.render(latent, condition)


def annotated(setting: Setting, base: FlowPolicy, seed: int) -> dict[tuple[str, str], Pairs]:
    """Pairs of every task and criterion."""
    network, truth = setting.rater().build(), setting.judge().build()
    found = dict[tuple[str, str], Pairs]()
    for number, task in enumerate(TASKS):
        data = editing.tasks(setting, "train")[task]
        draw = torch.Generator().manual_seed(1000 * seed + number)
        rows = [data[key] for key in torch.randint(len(data), (setting.sets,), generator=draw).tolist()]
        one = base.network.encode(rows)
        many = {name: value.repeat_interleave(CANDIDATES, 0) for name, value in one.items()}
        images = drawn(base, many, 1000 * seed + number)
        graded = truth.scores(images, [row for row in rows for _ in range(CANDIDATES)])
        _, condition, label = network.encode([Question(task, TASKS[task][0], "", row) for row in rows])
        for criterion in TASKS[task]:
            asked = network.encode([Question(task, criterion, "", rows[0])])[0].expand(setting.sets)
            winner, loser, clear = best_worst_pairs(graded[criterion].view(setting.sets, CANDIDATES), 1e-6)
            sets = images.view(setting.sets, CANDIDATES, *images.shape[1:])
            every = torch.arange(setting.sets)
            pairs = Pairs(sets[every, winner], sets[every, loser], (asked, condition, label))
            found[task, criterion] = pairs.take(clear.nonzero().squeeze(1))
    return found


def learned(
    setting: Setting, pairs: dict[tuple[str, str], Pairs], seed: int, rate: float = 1e-3, **options: Any
) -> PairMlpNetwork:
    """A judge of Eq. 3 on all pairs but those held out of each criterion."""
    judge = setting.rater(seed=seed, **options).build().train()
    known = [each.take(torch.arange(len(each) - setting.held_out)) for each in pairs.values()]
    joined = Pairs(
        torch.cat([each.winner for each in known]),
        torch.cat([each.loser for each in known]),
        cast(Any, tuple(torch.cat(column) for column in zip(*(each.told for each in known), strict=True))),
    )
    optimiser = torch.optim.AdamW(judge.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, setting.lessons)
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(setting.lessons):
            some = joined.take(torch.randint(len(joined), (JUDGE_BATCH,), generator=draw))
            in_order = judge(some.winner, some.loser, *some.told)[:, 0]
            swapped = judge(some.loser, some.winner, *some.told)[:, 1]
            optimiser.zero_grad()
            judge_loss(in_order, swapped).backward()
            optimiser.step()
            schedule.step()
    return judge.eval()


@torch.no_grad()
def accuracy(
    setting: Setting, judge: PairMlpNetwork, pairs: dict[tuple[str, str], Pairs]
) -> dict[str, float]:
    """Share of held-out pairs, in both orders, that it orders as the annotator did."""
    found = {f"{task}, {criterion}": right(setting, judge, each) for (task, criterion), each in pairs.items()}
    return found | editing.summary(found)


@torch.no_grad()
def right(setting: Setting, judge: PairMlpNetwork, pairs: Pairs) -> float:
    """The same of one criterion's pairs."""
    some = pairs.take(torch.arange(len(pairs) - setting.held_out, len(pairs)))
    in_order = judge(some.winner, some.loser, *some.told)
    swapped = judge(some.loser, some.winner, *some.told)
    both = (in_order[:, 0] > in_order[:, 1]).double() + (swapped[:, 1] > swapped[:, 0]).double()
    return float(both.mean() / 2)


def hacked(
    setting: Setting,
    base: FlowPolicy,
    judge: Any,
    seed: int,
    clamp: bool,
    rate: float,
    rival: dict[str, Tensor],
) -> dict[str, float]:
    """What a policy trained on a learned judge earns by that judge and by the truth, at the end."""
    start = copy.copy(base)
    start.network = start.model = copy.deepcopy(base.network)
    if not clamp:
        start.network.decode = unclamped
    method = editing.Method(learning_rate=rate)
    policy, history = editing.train(setting, start, method, judge, seed)
    last = history[-10:]
    true = editing.win_rates(setting, policy, rival, seed)
    return {
        "said": editing.judged(last, "preference"),
        "true": editing.judged(last, "truth"),
        "gap": sum(row["hacking_gap"] for row in last) / len(last),
        "true, whole images": true["mean"],
    }


def pleased(judge: PairMlpNetwork) -> Preference:
    """The learned judge as the objective asks it."""
    return Preference(model=cast(Any, Trained(judge)), tasks=TASKS)


def unclamped(latent: Tensor) -> Tensor:
    """Pixels that may leave [0, 1], and with them the images any judge has seen."""
    return latent / 2 + 0.5
