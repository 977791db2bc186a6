"""Losses that are not finite numbers: refused before any weight changes, with the rollout they belong to."""

from torch import Tensor

from oneloop.core.protocols import Objective
from oneloop.core.rollouts import Rollouts


class NotFinite(FloatingPointError):
    """A loss is NaN or infinite; the message names the objective and the rollout."""


def check_finite(
    losses: Tensor, counted: Tensor, objective: Objective, rollouts: Rollouts, actions: Tensor
) -> None:
    """Raises NotFinite naming the rollout when a loss [a] that counts (`counted` [a] not 0) is not finite."""
    bad = ((counted != 0) & ~losses.detach().isfinite()).nonzero().squeeze(1)
    if len(bad):
        action = actions[bad[0].cpu()]
        row = int(rollouts.owner[action])
        raise NotFinite(
            f"{type(objective).__name__} gives a loss of {float(losses[bad[0]].detach())} for rollout "
            f"{int(rollouts.id[row])} (group {int(rollouts.group[row])}), "
            f"action {int(rollouts.depth[action])}; no weight was changed"
        )
