"""Rollouts <-> lists of tokens: the action table of a language policy is chains laid end to end."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.engines.request import Reply

COLUMNS = {"token": torch.long, "version": torch.long, "logprob": torch.float32, "share": torch.float32}


def by_rollout(rollouts: Rollouts, column: str) -> list[list[float]]:
    """The values of an action column for each rollout, in the order of its path; empty where it has none."""
    if column not in rollouts.actions:
        return [[] for _ in range(len(rollouts))]
    if len(rollouts) == 0:  # numpy splits nothing into one piece
        return []
    _, action = rollouts.paths
    values = rollouts.actions[column][action].numpy()
    return [piece.tolist() for piece in np.split(values, np.cumsum(rollouts.length.numpy())[:-1])]


def extend(asked: Rollouts, replies: Sequence[Reply], version: int) -> Rollouts:
    """`asked` with the sampled tokens appended to each rollout, their log-probs and the weights' version."""
    sampled = {
        "token": [list(reply.tokens) for reply in replies],
        "version": [[version] * len(reply.tokens) for reply in replies],
        "logprob": [list(reply.logprobs) for reply in replies],
        "share": [[1.0] * len(reply.tokens) for reply in replies],
    }
    lists = {
        name: [old + new for old, new in zip(by_rollout(asked, name), sampled[name], strict=True)]
        for name in COLUMNS
    }
    # interrupted before its first token a rollout is still a request
    status = [
        reply.status if tokens else "pending" for reply, tokens in zip(replies, lists["token"], strict=True)
    ]
    return chains(asked, lists).put(status=status)


def chains(rollouts: Rollouts, lists: dict[str, list[list[float]]]) -> Rollouts:
    """`rollouts` over a new action table: one chain each, with these columns (one list per rollout)."""
    lengths = torch.tensor([len(tokens) for tokens in lists["token"]])
    table: dict[str, Tensor] = {"parent": chain_parents(lengths)}
    for name, dtype in COLUMNS.items():
        table[name] = torch.tensor([value for values in lists[name] for value in values], dtype=dtype)
    last = torch.where(lengths > 0, torch.cumsum(lengths, 0) - 1, -1)
    columns = {**rollouts.columns, "last": last}
    return Rollouts(columns, Actions(table, int(lengths.sum())), rollouts.facts)


def chain_parents(lengths: Tensor) -> Tensor:
    """int64 [N], parents of chains of these `lengths` [n] laid end to end."""
    parent = torch.arange(int(lengths.sum())) - 1
    starts = torch.cumsum(lengths, 0) - lengths
    parent[starts[lengths > 0]] = -1
    return parent
