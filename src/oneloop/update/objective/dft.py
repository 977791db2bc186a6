"""Dynamic fine-tuning: cross-entropy times the probability the policy already gives (arXiv 2508.05629).

    loss = -sg(p) * log p     its gradient is that of -p: refines what is half known, learns little new

The same as `one_token` with estimator exact, temperature 1 and wrong_reward 0.
"""

from typing import ClassVar, Literal

from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here, Over
from oneloop.core.rollouts import Rollouts


@part(writes=("actions.nll",), units=("nats", "discrete"), paper="arXiv 2508.05629")
class Dft:
    """Probability-weighted negative log-likelihood of every kept action."""

    mean: Literal["action", "rollout", "group"] = "action"
    """What weighs alike: action (token mean), rollout or group."""
    over: ClassVar[Over] = "kept"
    where: ClassVar[Over] = "kept"
    whole: ClassVar[bool] = False

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `nll`)."""
        logprob = here.logprob
        return -logprob.detach().exp() * logprob, {"nll": -logprob.detach()}
