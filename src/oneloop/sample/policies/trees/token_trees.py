"""Sampling text as trees: what the leaves of a fork share is sampled once and is in the action table once.

    n rollouts   E branches alive between two forks

Between two forks one request stands for all rollouts that share it; its tokens are those that the first of
them would draw alone, so a tree's first leaf is the rollout without a fork. A branch that ends before a fork
is the end of all its leaves, which are then one rollout several times. Tokens are independent given the
prefix: a fork's `correlation` is for images. A prefix is read again after each fork. Left out: stopping a
tree half-way.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.engines.request import Reply, Request
from oneloop.sample.policies.trees.branches import Branches, distinct


class TreeEngine(Protocol):
    """What completes requests."""

    def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """A reply to each request, in their order."""


class TreePolicy(Protocol):
    """The language policy that trees are sampled from."""

    version: int
    """Number of the weights, which actions are marked with."""

    @property
    def engine(self) -> TreeEngine:
        """Completes requests under the present weights."""

    def request(self, asked: Rollouts, row: int, partial: Sequence[float]) -> Request:
        """The engine request for one row that already has the tokens `partial`."""


def sample_trees(policy: TreePolicy, asked: Rollouts) -> Rollouts:
    """`asked` with their tokens. Raises ValueError for rows that have some already."""
    if len(asked.actions):
        raise ValueError(f"trees are sampled in one go, but rows {asked.id.tolist()[:8]} have tokens already")
    branches = Branches(asked)
    cuts = sorted({step for steps, _, _ in branches.forks for step in steps} - {0})
    tokens: list[list[int]] = [[] for _ in range(len(asked))]
    logprobs: list[list[float]] = [[] for _ in range(len(asked))]
    status = ["pending"] * len(asked)
    for begin, end in zip([0, *cuts], [*cuts, None], strict=True):
        edge = branches.level(begin).edge
        going = torch.tensor(
            [row for row, state in enumerate(status) if state == "pending"], dtype=torch.long
        )
        _, first = distinct(edge[going])
        rows = going[first].tolist()
        requests = [_request(policy, asked, row, tokens[row], end) for row in rows]
        replies = dict(zip(edge[rows].tolist(), policy.engine.generate(requests), strict=True))
        ended = {
            int(edge[row]): _ended(policy, asked, row, len(tokens[row]), replies[int(edge[row])], end)
            for row in rows
        }
        for row in going.tolist():
            reply = replies[int(edge[row])]
            tokens[row] = [*tokens[row], *reply.tokens]
            logprobs[row] = [*logprobs[row], *map(float, reply.logprobs)]
            status[row] = ended[int(edge[row])]
    return _table(policy.version, asked, branches, tokens, logprobs).put(status=status)


def _request(policy: TreePolicy, asked: Rollouts, row: int, partial: list[int], end: int | None) -> Request:
    """The request for the tokens after `partial`, up to the fork at `end`."""
    whole = policy.request(asked, row, partial)
    limit = whole.limit if end is None else min(end, whole.limit)
    return dataclasses.replace(whole, limit=limit)


def _ended(policy: TreePolicy, asked: Rollouts, row: int, had: int, reply: Reply, end: int | None) -> str:
    """The status of a branch: "pending" where it only met the next fork."""
    limit = policy.request(asked, row, ()).limit
    if reply.status == "stop" or end is None or had + len(reply.tokens) >= limit:
        return str(reply.status)
    return "pending"


def _table(
    version: int, asked: Rollouts, branches: Branches, tokens: list[list[int]], logprobs: list[list[float]]
) -> Rollouts:
    """The tree as an action table, token by token."""
    length = torch.tensor([len(row) for row in tokens])
    steps = sorted({step for fork in branches.forks for step in fork[0]})
    last = torch.full((len(asked),), -1)
    levels: dict[str, list[Tensor]] = {"parent": [], "token": [], "logprob": []}
    made = 0
    for step in range(int(length.max())):
        rows = (length > step).nonzero().squeeze(1)
        if step == 0 or step in steps:  # between forks everyone stays on their branch
            edge = branches.level(step).edge
        which, first = distinct(edge[rows])
        chosen = rows[first]
        levels["parent"].append(last[chosen])
        levels["token"].append(torch.tensor([tokens[row][step] for row in chosen.tolist()]))
        levels["logprob"].append(torch.tensor([logprobs[row][step] for row in chosen.tolist()]))
        last[rows] = made + which
        made += len(chosen)
    table: dict[str, Any] = {name: torch.cat(pieces) for name, pieces in levels.items()}
    table |= {"version": torch.full((made,), version), "share": torch.ones(made)}
    return Rollouts({**asked.columns, "last": last}, Actions(table), asked.facts)
