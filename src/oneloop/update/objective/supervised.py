"""Supervised fine-tuning: learn from demonstrations.

    weigh: alike          loss = -log p(action)            mean: action is the usual token-mean cross-entropy
    weigh: probability    loss = -sg(p) log p(action)      dynamic fine-tuning, DFT (arXiv 2508.05629)

The fixed point of `alike` is the law of the demonstrations, their mistakes included. The gradient of
`probability` is that of -p: it refines what is half known and learns little that is new. It is `one_token`
with estimator exact, temperature 1 and wrong_reward 0. Log-probabilities are taken under the law that the
policy samples from: set the policy's temperature to 1 for ordinary fine-tuning.
"""

from typing import Literal

from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts


def probability_weighted(nll: Tensor) -> Tensor:
    """exp(-`nll`) * `nll` with no gradient through the factor: DFT's loss, of any shape.

    >>> import torch
    >>> probability_weighted(-torch.tensor([0.5, 0.25]).log())
    tensor([0.3466, 0.3466])
    """
    return (-nll.detach()).exp() * nll


@part(
    writes=("actions.nll",),
    units=lambda self: ("nats", "discrete") if self.weigh == "probability" else (),
    paper="maximum likelihood; DFT, arXiv 2508.05629",
)
class Supervised:
    """Negative log-likelihood of every kept action."""

    weigh: Literal["alike", "probability"] = "alike"
    """Weight of an action: equal (alike), or the probability that the policy gives it (DFT)."""
    mean: Literal["action", "rollout", "group"] = "action"
    """What has equal weight in the mean: every action (token mean), rollout or group."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `nll`)."""
        nll = -here.logprob
        loss = probability_weighted(nll) if self.weigh == "probability" else nll
        return loss, {"nll": nll.detach()}
