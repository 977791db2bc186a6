"""Distance to the reference policy, estimated from sampled actions (Schulman, "Approximating KL divergence").

    d = log p_now - log p_reference        k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d

All three estimate KL(now | reference) from actions of the present policy; as *losses* they differ. The
expected gradient of k1 is zero (it only adds noise), that of k2 is the gradient of KL(now | reference), that
of k3 is the gradient of KL(reference | now). k3 is GRPO's; k2 is the one that does what it says on-policy.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from oneloop.part import part
from oneloop.protocols import Here, Mean, Over
from oneloop.rollouts import Rollouts

Estimator = Literal["k1", "k2", "k3"]
LARGEST_GAP = 20.0  # k3 grows as exp(gap): past e^20 it overflows and one token ruins the step


def kl_estimate(logprob: Tensor, reference: Tensor, estimator: Estimator) -> Tensor:
    """[a], one sampled action's share of KL(now | reference); k3's gap is clamped to +-20 nats."""
    gap = logprob - reference
    if estimator == "k1":
        return gap
    if estimator == "k2":
        return gap.square() / 2
    gap = gap.clamp(-LARGEST_GAP, LARGEST_GAP)
    return (-gap).exp() - 1 + gap


@part(writes=("actions.kl",), paper="arXiv 2402.03300")
class Kl:
    """Coefficient times the estimated KL to the policy's reference."""

    coefficient: Annotated[float, Field(ge=0)] = 0.001
    """How strongly the policy is held to the reference."""
    estimator: Estimator = "k3"
    """k1, k2 or k3: see the head of the file, as losses they are not interchangeable."""
    where: Over = "all"
    """On all actions, or only on those select kept."""
    mean: Mean = "action"
    """What weighs alike: action, rollout, group, or constant (then give constant_length)."""
    constant_length: Annotated[int, Field(ge=1)] | None = None
    """Actions per rollout in the denominator of mean "constant"."""

    @property
    def over(self) -> Over:
        """The denominator counts the actions the loss is computed on."""
        return self.where

    @property
    def whole(self) -> bool:
        """Each action stands for itself."""
        return False

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `kl`, the estimate before the coefficient)."""
        estimate = kl_estimate(here.logprob, here.reference, self.estimator)
        return self.coefficient * estimate, {"kl": estimate.detach()}
