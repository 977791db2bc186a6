"""A sampler in lockstep: each tick gives every asked row a token, until enough groups are complete."""

from collections.abc import Callable

import numpy as np
import torch

from oneloop.core.rollouts import Rollouts
from oneloop.engines.request import Reply
from oneloop.sample.policies.tokens.chains import extend


class Ticks:
    """`length(row id, key)` tokens a rollout has in the end; `ticks` of each call and `tokens` in all."""

    def __init__(self, length: Callable[[int, int], int]):
        self.length, self.version = length, 0
        self.ticks: list[int] = []
        self.tokens = 0

    def __call__(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        done = asked.length.tolist()
        whole = [self.length(*pair) for pair in zip(asked.id.tolist(), asked.key.tolist(), strict=True)]
        left: dict[int, int] = {}
        for group, size, have in zip(asked.group.tolist(), whole, done, strict=True):
            left[group] = max(left.get(group, 0), size - have)
        enough = asked.facts.get("enough") or len(left)
        ticks = sorted(left.values())[min(enough, len(left)) - 1]
        replies = []
        for number, size, have in zip(asked.id.tolist(), whole, done, strict=True):
            upto = min(size, have + ticks)
            tokens = tuple((number + depth) % 10 for depth in range(have, upto))
            status = "stop" if upto == size else "aborted"
            replies.append(Reply(tokens, -np.ones(len(tokens), dtype=np.float32), status))
            self.tokens += len(tokens)
        self.ticks.append(ticks)
        rollouts = extend(asked, replies, self.version)
        return rollouts.split(torch.tensor([status == "stop" for status in rollouts.status]))
