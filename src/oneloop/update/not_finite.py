"""Checks for NaN and infinity: losses before any weight changes, and weights after an update."""

import torch
from torch import Tensor, nn

from oneloop.core.protocols import Objective
from oneloop.core.rollouts import Rollouts


class NotFinite(FloatingPointError):
    """A loss, a gradient or a weight is NaN or infinite; the message names it."""


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
            f"action {int(rollouts.depth[action])}; the update it was for changed no weight. After "
            "earlier updates this means that training has diverged: begin again, or from an earlier "
            "checkpoint, with a lower learner.learning_rate"
        )


@torch.no_grad()
def check_weights(model: nn.Module, rate: float) -> None:
    """Raises NotFinite naming a trained weight that an update at learning rate `rate` left not finite."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    # a sum is finite only if every number is, and reads memory several times as fast as a norm does
    total = torch.stack([weight.sum(dtype=torch.float32) for weight in trained.values()])
    if not bool(total.isfinite().all()):
        name = list(trained)[int((~total.isfinite()).nonzero()[0])]
        raise NotFinite(
            f"the update made weights NaN or infinite ({name}): training has diverged at a learning rate of "
            f"{rate:g}; nothing was saved since the last checkpoint, from which a run with a lower "
            "learner.learning_rate can begin"
        )
