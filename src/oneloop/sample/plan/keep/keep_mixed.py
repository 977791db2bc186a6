"""Refuse groups without signal, so that the plan asks for others until the batch is full (DAPO's dynamic
sampling, BroRL's refill). The bound on refills is the plan's `max_refills`."""

from typing import Literal

import torch

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


@part(reads=lambda self: ("reward", "actions.flaw") if self.by == "token" else ("reward",))
class KeepMixed:
    """Keeps a group whose rewards differ; one value, or no verdict at all, is refused."""

    by: Literal["reward", "token"] = "reward"
    """reward: groups whose rewards differ are kept; token: also groups whose tokens differ in `flaw`
    (CAPO)."""

    def keeps(self, group: Rollouts) -> bool:
        """Whether the complete `group` is worth learning from."""
        if not bool(segments.constant(group.reward, group.group).all()):
            return True
        if self.by == "reward" or bool(group.reward.isnan().all()):
            return False
        judged = ~group.reward.isnan()[group.owner]
        flaw = group.actions.flaw[judged].nan_to_num(0.0)
        return not bool(segments.constant(flaw, torch.zeros_like(flaw, dtype=torch.long)).all())
