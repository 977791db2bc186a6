"""Small tables for tests: chains, random forests and a naive reading of them, a policy that is its logits.

A naive answer here is a plain Python loop over paths, so that the tests compare two ways of thinking.
"""

import random
from functools import cached_property

import torch
from torch import Tensor

from oneloop.core.rollouts import Actions, Rollouts

STATUSES = ("stop", "length")


def table(
    last: list[int], parent: list[int], *, seed: int = 0, group_size: int = 2, vocabulary: int = 5
) -> Rollouts:
    """Rollouts with every usual column filled with random numbers."""
    draw = torch.Generator().manual_seed(seed)
    rows, count = len(last), len(parent)
    actions = Actions(
        {
            "parent": torch.tensor(parent, dtype=torch.long),
            "version": torch.zeros(count, dtype=torch.long),
            "token": torch.randint(vocabulary, (count,), generator=draw),
            "logprob": -torch.rand(count, generator=draw),
            "share": torch.ones(count),
        }
    )
    columns = {
        "id": torch.arange(rows) + 100,
        "group": torch.arange(rows) // group_size,
        "last": torch.tensor(last, dtype=torch.long),
        "status": [STATUSES[i % 7 == 3] for i in range(rows)],
        "text": [f"rollout {i}" for i in range(rows)],
        "reward": torch.randn(rows, generator=draw, dtype=torch.float64),
    }
    return Rollouts(columns, actions, {"seed": seed, "step": 3, "progress": 0.25})


def chains(lengths: list[int], **options: int) -> Rollouts:
    """One chain of actions per rollout, laid end to end; length 0 is a rollout without actions."""
    parent: list[int] = []
    last = []
    for length in lengths:
        start = len(parent)
        parent += [-1 if step == 0 else start + step - 1 for step in range(length)]
        last.append(len(parent) - 1 if length else -1)
    return table(last, parent, **options)


def forest(seed: int, rows: int = 6, count: int = 12, **options: int) -> Rollouts:
    """Random parents and random last actions; actions nobody passes through are left out."""
    draw = random.Random(seed)
    parent = [draw.choice([-1, *range(max(0, i - 3), i)]) for i in range(count)]
    last = [draw.randrange(-1, count) for _ in range(rows)]
    used = sorted({action for row in last for action in naive_path(row, parent)})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}
    return table([place[i] for i in last], [place[parent[i]] for i in used], seed=seed, **options)


def naive_path(last: int, parent: list[int]) -> list[int]:
    """Actions from the first to `last`, by walking up."""
    path: list[int] = []
    while last >= 0:
        path.insert(0, last)
        last = parent[last]
    return path


def naive_paths(rollouts: Rollouts) -> list[list[int]]:
    """The path of every rollout."""
    parent = rollouts.actions.parent.tolist()
    return [naive_path(last, parent) for last in rollouts.last.tolist()]


class ToyHere:
    """Some actions of a `ToyPolicy`."""

    def __init__(self, policy: "ToyPolicy", rollouts: Rollouts, actions: Tensor):
        self.policy, self.rollouts, self.actions = policy, rollouts, actions

    @property
    def logits(self) -> Tensor:
        return self.policy.logits[self.actions]

    @cached_property
    def logprobs(self) -> Tensor:
        return self.logits.log_softmax(-1)

    @property
    def logprob(self) -> Tensor:
        return self.logprobs.gather(-1, self.rollouts.actions.token[self.actions][:, None]).squeeze(1)

    @property
    def entropy(self) -> Tensor:
        return -(self.logprobs.exp() * self.logprobs).sum(-1)

    @property
    def reference(self) -> Tensor:
        return self.policy.reference[self.actions]


class ToyPolicy:
    """A policy whose logits [N, V] are the parameter; row i are the logits of action i."""

    def __init__(self, logits: Tensor, reference: Tensor | None = None):
        self.logits = logits.clone().requires_grad_()
        self.reference = reference

    @classmethod
    def random(cls, rollouts: Rollouts, seed: int = 0, vocabulary: int = 5) -> "ToyPolicy":
        """Random fp64 logits, and a random reference."""
        draw = torch.Generator().manual_seed(seed)
        logits = torch.randn(len(rollouts.actions), vocabulary, generator=draw, dtype=torch.float64)
        return cls(logits, -torch.rand(len(logits), generator=draw, dtype=torch.float64))

    def at(self, rollouts: Rollouts, actions: Tensor) -> ToyHere:
        return ToyHere(self, rollouts, actions)

    def sampled(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` as if these weights had sampled them: log-probabilities of the tokens they hold."""
        everything = torch.arange(len(rollouts.actions))
        return rollouts.put_actions(logprob=self.at(rollouts, everything).logprob.detach())

    def gradient(self, objective, rollouts: Rollouts, pieces: list[Tensor], weights: Tensor) -> Tensor:
        """d(sum of weight * loss) / d(logits) [N, V], accumulated over `pieces` of actions."""
        self.logits.grad = torch.zeros_like(self.logits)
        for piece in pieces:
            loss, _ = objective(self.at(rollouts, piece), rollouts, piece)
            (loss * weights[piece]).sum().backward()
        return self.logits.grad.clone()
