"""Supervised fine-tuning: the negative log-likelihood of demonstrations, rollouts somebody else made.

    loss = -log p(action)                         mean: action is the usual token-mean cross-entropy

Its fixed point is the law of the demonstrations, their mistakes included. Log-probabilities are taken under
the law the policy samples from: set the policy's temperature to 1 for ordinary fine-tuning.
"""

from typing import ClassVar, Literal

from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here, Over
from oneloop.core.rollouts import Rollouts


@part(writes=("actions.nll",), paper="maximum likelihood")
class Supervised:
    """Negative log-likelihood of every kept action."""

    mean: Literal["action", "rollout", "group"] = "action"
    """What weighs alike: action (token mean), rollout or group."""
    over: ClassVar[Over] = "kept"
    where: ClassVar[Over] = "kept"
    whole: ClassVar[bool] = False

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `nll`)."""
        nll = -here.logprob
        return nll, {"nll": nll.detach()}
