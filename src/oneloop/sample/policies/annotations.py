"""What a policy says of stored actions under its present weights, or under its reference."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts

ANSWERS = {"entropy": "entropy", "proximal": "logprob", "reference": "reference"}
"""{column: the attribute of `Here` it is}."""


class Learned(Protocol):
    """A policy, as far as its forward passes go."""

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Pieces of the actions `wanted` (bool [N]); about `budget` tokens are forwarded in each."""

    def at(self, rollouts: Rollouts, actions: Tensor) -> Here:
        """`actions` [a] under the present weights."""


@torch.no_grad()
def annotated(
    policy: Learned, rollouts: Rollouts, columns: Sequence[str], budget: int, fresh: Tensor | None = None
) -> Rollouts:
    """`rollouts` with `columns` (of ANSWERS) [N] for actions with share > 0, and NaN for the others.

    fresh: bool [N], actions whose stored log-prob is what the present weights say: it is their `proximal`,
    and nothing is forwarded for its sake.
    """
    values = {name: torch.full((len(rollouts.actions),), float("nan")) for name in columns}
    wanted = rollouts.actions.share > 0
    if fresh is not None and list(columns) == ["proximal"]:
        values["proximal"] = torch.where(wanted & fresh, rollouts.actions.logprob, values["proximal"])
        wanted = wanted & ~fresh
    for actions in policy.batches(rollouts, wanted, budget):
        here = policy.at(rollouts, actions)
        for name in columns:
            values[name][actions] = getattr(here, ANSWERS[name]).float().cpu()
    return rollouts.put_actions(values)
