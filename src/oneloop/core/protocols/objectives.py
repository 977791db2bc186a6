"""Losses, one for each action."""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from oneloop.core.protocols.policies import Here
from oneloop.core.rollouts import Rollouts

Mean = Literal["action", "rollout", "group", "constant"]
Over = Literal["kept", "all"]
Where = Literal["kept", "all", "last"]


class Objective(Protocol):
    """One loss per action; the learner owns every denominator.

    Losses are averaged over the actions that select kept. An objective that wants another average says so
    with attributes, any of `mean`, `over`, `where`, `constant_length` and `whole`; see
    `oneloop.update.averaging.Averaging`. One that has no gradient at some actions is `Teaching`.
    """

    def __call__(self, here: "Here", rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], readings {name: [a]}) of `actions` (int64 [a], indices into the action table)."""


class ObjectiveDefaults:
    """What an objective may say of itself beside its average; what it leaves out is as here."""

    clip_range: float | None = None
    """How far a ratio may leave 1 before it has no gradient, recorded each step; None: it clips nothing."""
    whole_logits = False
    """Whether it reads `here.logits`, so that those of all its actions are held at once."""


@runtime_checkable
class Teaching(Protocol):
    """An objective that has no gradient at some actions; those that no objective learns from are not
    forwarded."""

    def teaches(self, rollouts: Rollouts) -> Tensor:
        """bool [N], the actions at which it has a gradient."""
