"""A reward for staying undecided (Williams and Peng, 1991): loss = -coefficient * entropy, one an action."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here, Over
from oneloop.core.rollouts import Rollouts


@part(writes=("actions.entropy",), paper="Williams and Peng, Connection Science 3(3), 1991")
class EntropyBonus:
    """Minus coefficient times the entropy, by default over the actions select kept."""

    coefficient: Annotated[float, Field(ge=0)] = 0.001
    """Weight of a nat of entropy in the loss; 0: no bonus."""
    where: Over = "kept"
    """Actions that get the bonus: those select kept, or all."""
    mean: Literal["action", "rollout", "group"] = "action"
    """What has equal weight in the mean: every action, rollout or group."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `entropy`)."""
        entropy = here.entropy
        return -self.coefficient * entropy, {"entropy": entropy.detach()}
