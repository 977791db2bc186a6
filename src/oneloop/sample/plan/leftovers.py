"""What happens to unfinished rollouts when the weights change: resumed, restarted, or refused.

    resume    partial rollouts (APRIL, arXiv 2509.18521): tokens, log-probs and versions stay, and sampling
              goes on under the new weights from a cache computed afresh
    restart   no token of older weights survives: resume with a bound of 0 versions

A bound on staleness is `max_age`: past it a rollout starts again, and after `restarts` of them its group is
refused whole. Both are counted, in rollouts, tokens and groups. A rollout that starts again draws the same
numbers as before (they belong to its id), so starting again does not favour short answers. A bound that keeps
the old tokens as context and learns from the fresh ones alone is the select part `stale`.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.rollouts import Actions, Rollouts


@part(paper="arXiv 2509.18521")
class Leftovers:
    """What happens, at each weight update, to rollouts that were sampled in part."""

    then: Literal["resume", "restart"] = "resume"
    """resume: keep the tokens and continue under the new weights (partial rollouts, APRIL);
    restart: sample the rollout again from its prompt."""
    max_age: Annotated[int, Field(ge=1)] | None = None
    """Restart a rollout whose oldest action is more than this many versions behind; None: never."""
    restarts: Annotated[int, Field(ge=0)] | None = None
    """How often a group may have rollouts restarted; past it the whole group is refused, and counted.
    None: always restart. A rollout longer than `max_age` updates can sample never ends without this bound."""

    def too_old(self, unfinished: Rollouts, version: int) -> Tensor:
        """bool [n], rollouts that must restart. `version`: number of the weights just published."""
        if self.then == "restart":
            return unfinished.last >= 0
        if self.max_age is None or len(unfinished.actions) == 0:
            return torch.zeros(len(unfinished), dtype=torch.bool)
        row, action = unfinished.paths
        oldest = torch.full((len(unfinished),), version)
        oldest.scatter_reduce_(0, row, unfinished.actions.version[action], "amin")
        return version - oldest > self.max_age


def started_again(rollouts: Rollouts) -> Rollouts:
    """The same rows as new requests: no actions, status pending."""
    empty = Actions({name: column[:0] for name, column in rollouts.actions.columns.items()})
    columns = rollouts.put(last=torch.full((len(rollouts),), -1), status=["pending"] * len(rollouts)).columns
    return Rollouts(columns, empty, rollouts.facts)
