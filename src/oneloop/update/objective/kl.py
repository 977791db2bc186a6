"""Distance to the reference policy, estimated from sampled actions (Schulman, "Approximating KL divergence").

    d = log p_now - log p_reference        k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d

As *values*, averaged over actions that p_now sampled, k1 and k3 are unbiased estimates of
KL(now | reference); k3 is never negative and varies less. k2 is biased: it is the KL to second order in d.

As *losses* on actions that p_now sampled, their expected gradients are

    k1   zero (it only adds noise)
    k2   that of KL(now | reference)
    k3   that of KL(reference | now); GRPO's choice

`unbiased` corrects by w = p_now / p_sampled (DeepSeek-V3.2, arXiv 2512.02556; TRL 1.16 does so by default).
Then all three have the gradient of KL(now | reference), whichever weights sampled the actions:

    k1, k3   w k        sum p_sampled w k = sum p_now k = KL(now | reference), so w carries a gradient
    k2       sg(w) k    sum p_sampled w d grad(d) = sum p_now d grad(log p_now), the gradient of the KL;
                        through w it would be that of sum p_now d^2 / 2, another quantity
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
    """One sampled action's share of KL(now | reference), from log-probabilities of one shape.

    k3's gap is clamped to +-20 nats.

    >>> import torch
    >>> now, reference = torch.tensor([-1.5, -1.0]), torch.tensor([-1.0, -1.0])
    >>> kl_estimate(now, reference, "k3")
    tensor([0.1487, 0.0000])
    """
    gap = logprob - reference
    if estimator == "k1":
        return gap
    if estimator == "k2":
        return gap.square() / 2
    gap = gap.clamp(-20.0, 20.0)  # k3 grows as exp(gap): one token would ruin the step
    return (-gap).expm1() + gap  # exp - 1 would lose small gaps to rounding


def kl_loss(logprob: Tensor, reference: Tensor, sampled: Tensor, estimator: Estimator) -> Tensor:
    """`kl_estimate` times p_now / p_sampled; its mean has the gradient of KL(now | reference).

    `logprob` (differentiable), `reference` and `sampled` are log-probabilities of the sampled actions, of one
    shape: under the present weights, the reference and the law that sampled them.

    >>> import torch
    >>> logprob = torch.tensor([-1.5], requires_grad=True)
    >>> kl_loss(logprob, torch.tensor([-1.0]), torch.tensor([-1.5]), "k2").backward()
    >>> logprob.grad  # that of d^2 / 2
    tensor([-0.5000])
    """
    weight = bounded_exp(logprob - sampled)
    if estimator == "k2":
        weight = weight.detach()
    return kl_estimate(logprob, reference, estimator) * weight


def _reads(objective: "Kl") -> tuple[str, ...]:
    return ("actions.reference", *(("actions.logprob",) if objective.unbiased else ()))


@part(reads=_reads, writes=("actions.kl",), paper="arXiv 2402.03300")
class Kl:
    """Coefficient times the estimated KL to the policy's reference."""

    coefficient: Annotated[float, Field(ge=0)] = 0.001
    """Weight of the KL in the loss; 0: none."""
    estimator: Estimator = "k3"
    """k1, k2 or k3: see the head of the file; without `unbiased` they are not interchangeable as losses."""
    unbiased: bool = True
    """Whether the estimate is multiplied by p_now / p_sampled; use false on demonstrations."""
    where: Over = "all"
    """Actions that get the loss: all, or those select kept."""
    mean: Mean = "action"
    """What has equal weight in the mean: every action, rollout or group; or constant (give
    constant_length)."""
    constant_length: Annotated[int, Field(ge=1)] | None = None
    """Actions per rollout in the denominator of mean "constant"."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `kl`, the plain estimate)."""
        logprob, reference = here.logprob, here.reference
        estimate = kl_estimate(logprob, reference, self.estimator)
        readings = {"kl": estimate.detach()}
        if self.unbiased:
            sampled = rollouts.actions.logprob[actions].to(logprob)
            estimate = kl_loss(logprob, reference, sampled, self.estimator)
        return self.coefficient * estimate, readings
