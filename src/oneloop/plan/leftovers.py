"""What becomes of unfinished rollouts when the weights change: continued, or started again."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.part import part
from oneloop.rollouts import Actions, Rollouts


@part()
class Leftovers:
    """Decides at each weight update over the rollouts that were sampled in part."""

    then: Literal["resume", "restart"] = "resume"
    """resume: keep the tokens and continue under the new weights (partial rollouts, APRIL);
    restart: sample the rollout again from its prompt."""
    max_age: Annotated[int, Field(ge=1)] | None = None
    """Restart a rollout whose oldest action is more than this many versions behind; None: never."""

    def carry(self, unfinished: Rollouts, version: int) -> Rollouts:
        """The same rows, some without their actions. `version`: of the weights just published."""
        again = self._restarted(unfinished, version)
        if not bool(again.any()):
            return unfinished
        kept, dropped = unfinished.split(~again)
        empty = Actions({name: column[:0] for name, column in dropped.actions.columns.items()})
        columns = dropped.put(last=torch.full((len(dropped),), -1), status=["pending"] * len(dropped)).columns
        fresh = Rollouts(columns, empty, dropped.facts)
        return Rollouts.join([fresh, kept])

    def _restarted(self, unfinished: Rollouts, version: int) -> Tensor:
        if self.then == "restart":
            return unfinished.last >= 0
        if self.max_age is None or len(unfinished.actions) == 0:
            return torch.zeros(len(unfinished), dtype=torch.bool)
        row, action = unfinished.paths
        oldest = torch.full((len(unfinished),), version)
        oldest.scatter_reduce_(0, row, unfinished.actions.version[action], "amin")
        return version - oldest > self.max_age
