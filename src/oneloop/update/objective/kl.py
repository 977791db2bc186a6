"""Distance to the reference policy, estimated from sampled actions (Schulman, "Approximating KL divergence").

    d = log p_now - log p_reference        k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d

All three estimate KL(now | reference) from sampled actions; as *losses* they differ. The expected gradient of
k1 is zero (it only adds noise), that of k2 is the gradient of KL(now | reference), that of k3, GRPO's, is the
gradient of KL(reference | now). `unbiased` multiplies by p_now / p_sampled (DeepSeek-V3.2, arXiv 2512.02556):
then all have the gradient of KL(now | reference), also after some updates. TRL 1.16 does so by default.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here, Mean, Over
from oneloop.core.rollouts import Rollouts
from oneloop.update.objective.policy_gradient import bounded_exp

Estimator = Literal["k1", "k2", "k3"]


def kl_estimate(logprob: Tensor, reference: Tensor, estimator: Estimator) -> Tensor:
    """[a], one sampled action's share of KL(now | reference); k3's gap is clamped to +-20 nats."""
    gap = logprob - reference
    if estimator == "k1":
        return gap
    if estimator == "k2":
        return gap.square() / 2
    gap = gap.clamp(-20.0, 20.0)  # k3 grows as exp(gap): one token would ruin the step
    return (-gap).expm1() + gap  # exp - 1 would lose small gaps to rounding


def _reads(objective: "Kl") -> tuple[str, ...]:
    return ("actions.reference", *(("actions.logprob",) if objective.unbiased else ()))


@part(reads=_reads, writes=("actions.kl",), paper="arXiv 2402.03300")
class Kl:
    """Coefficient times the estimated KL to the policy's reference."""

    coefficient: Annotated[float, Field(ge=0)] = 0.001
    """How strongly the policy is held to the reference."""
    estimator: Estimator = "k3"
    """k1, k2 or k3: see the head of the file, as losses they are not interchangeable."""
    unbiased: bool = True
    """Times p_now / p_sampled, differentiable. False for the plain estimate, and for demonstrations."""
    where: Over = "all"
    """On all actions, or only on those select kept."""
    mean: Mean = "action"
    """What weighs alike: action, rollout, group, or constant (then give constant_length)."""
    constant_length: Annotated[int, Field(ge=1)] | None = None
    """Actions per rollout in the denominator of mean "constant"."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `kl`, the plain estimate)."""
        logprob = here.logprob
        estimate = kl_estimate(logprob, here.reference, self.estimator)
        readings = {"kl": estimate.detach()}
        if self.unbiased:
            estimate = estimate * bounded_exp(logprob - rollouts.actions.logprob[actions].to(logprob))
        return self.coefficient * estimate, readings
