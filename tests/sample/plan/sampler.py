"""A sampler without a model: tokens that depend on (seed, id, depth) alone, cut off wherever a test wants."""

import random
from collections.abc import Callable

import torch

from oneloop.core import draws
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.sample.plan.plan import Plan

TOKENS = 10


def length_of(seed: int, number: int) -> int:
    """How many tokens the rollout with this id has in the end."""
    return 1 + int(draws.mix(seed, number, "length")) % 5


def reward_of(number: int, key: int) -> float:
    """Data rows divisible by 3 are solved by nobody; the others by about half."""
    return 0.0 if key % 3 == 0 else float(int(draws.mix(number, "reward")) % 2)


class FakeSampler:
    """`patience(row)` says how many tokens a rollout may get in this call (None: all of them)."""

    def __init__(self, patience: Callable[[int], int | None] = lambda row: None):
        self.patience, self.version, self.calls = patience, 0, 0
        self.sampled: list[int] = []

    @classmethod
    def random(cls, seed: int) -> "FakeSampler":
        draw = random.Random(seed)
        return cls(lambda row: draw.choice([None, None, 0, 1, 2]))

    def __call__(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        self.calls += 1
        self.sampled += asked.id.tolist()
        _, action = asked.paths
        old = asked.actions["token"][action].tolist() if len(asked.actions) else []
        versions = asked.actions["version"][action].tolist() if len(asked.actions) else []
        table: dict[str, list[int]] = {"token": [], "version": [], "parent": []}
        last, status = [], []
        for row, (number, length) in enumerate(zip(asked.id.tolist(), asked.length.tolist(), strict=True)):
            tokens, stamps = old[:length], versions[:length]
            old, versions = old[length:], versions[length:]
            seed, whole, patience = (
                asked.facts["seed"],
                length_of(asked.facts["seed"], number),
                self.patience(row),
            )
            upto = whole if patience is None else min(whole, length + patience)
            tokens += [int(draws.mix(seed, number, depth)) % TOKENS for depth in range(length, upto)]
            stamps += [self.version] * (upto - length)
            start = len(table["token"])
            table["parent"] += [-1 if i == 0 else start + i - 1 for i in range(upto)]
            table["token"] += tokens
            table["version"] += stamps
            last.append(len(table["token"]) - 1 if upto else -1)
            status.append("stop" if upto == whole else "aborted")
        actions = Actions({name: torch.tensor(values, dtype=torch.long) for name, values in table.items()})
        actions = actions.put(logprob=-torch.ones(len(actions)), share=torch.ones(len(actions)))
        rollouts = Rollouts(
            {**asked.columns, "last": torch.tensor(last), "status": status}, actions, asked.facts
        )
        return rollouts.split(torch.tensor([s == "stop" for s in status]))


def judged(finished: Rollouts) -> Rollouts:
    """Rewards that depend on (id, key) alone."""
    pairs = zip(finished.id.tolist(), finished.key.tolist(), strict=True)
    return finished.put(reward=torch.tensor([reward_of(i, key) for i, key in pairs], dtype=torch.float64))


class Weights:
    """Stands in for the learner in `after_update`."""

    def __init__(self, version: int = 0) -> None:
        self.policy, self.version = self, version


def batches(plan: Plan, sampler: FakeSampler, steps: int, limit: int | None = None, turns: int = 10_000):
    """What the loop does, less the learning: yields (batch, groups refused since the last one)."""
    learner = Weights()
    for _ in range(turns):
        if not steps:
            return
        asked = plan.ask(limit)
        if asked is None:
            return
        finished, unfinished = sampler(asked) if len(asked) else (asked, asked)
        plan.tell(judged(finished) if len(finished) else finished, unfinished)
        batch = plan.batch()
        if batch is not None:
            steps -= 1
            learner.version += 1
            sampler.version = learner.version
            plan.after_update(learner, batch)
            yield batch, plan.piles.take_refused()
    raise AssertionError(f"no batch after {turns} asks")


def same(one: Rollouts, other: Rollouts) -> bool:
    """Whether two tables are equal in every column, action and fact."""

    def equal(a, b):
        if isinstance(a, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7))
        return a == b

    pairs = [(one.columns, other.columns), (one.actions.columns, other.actions.columns)]
    if one.facts != other.facts or any(set(a) != set(b) for a, b in pairs):
        return False
    return all(equal(a[name], b[name]) for a, b in pairs for name in a)
