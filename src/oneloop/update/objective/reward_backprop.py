"""Reward back-propagation: the gradient of a judge, through the image, into the last calls of the network.

    J_e = max(0, bound - p_e)        loss of a rollout = mean over its criteria of J_e        minimised

OneReward (arXiv 2508.21066, Eq. 5; its listing writes "+" and "ascent" for the same J, a slip). The hinge is
taken of each criterion before the mean: one that has reached the bound gives no gradient and cannot pay for
another. With p from a judge of one criterion it is ReFL (2304.05977), without a `bound` the loss is -mean p,
as in DRaFT (2309.17400), whose K is `calls`. Rollouts may end early (plan's dress part `stop`); what is
differentiated is the call that renders, everything before is a constant. Judge, decoder and reference get no
gradient. Any judge with `grade(images, rollouts, rows) -> (p [a, E], asked [a, E])` will do.

With `begin: data` the image comes of a demonstration: noise of a random level is put on it and taken off
again in `steps` calls, of which the last `calls` have a gradient. This is the second stage of One-DM
(2409.04004): five calls, all with a gradient, `coefficient` 0.1, no bound, beside the loss of its first.

No group, no advantage, no log-probability, no anchor to the data: what keeps the policy honest is the bound,
the clamp of pixels to [0, 1], and a held-out judge (the doctor's `hacking_gap`).
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from scipy.special import ndtri
from torch import Tensor

from oneloop.core.declared import declared
from oneloop.core.part import Of, part
from oneloop.core.protocols import Grader, Here, JudgeDefaults, Mean, Where, trait
from oneloop.core.rollouts import Rollouts


def hinge(p: Tensor, bound: float | None) -> Tensor:
    """max(0, `bound` - p), or -p without a bound."""
    return -p if bound is None else (bound - p).clamp(min=0)


def hinge_loss(p: Tensor, asked: Tensor, bound: float | None) -> Tensor:
    """[a], the mean over the criteria that were `asked` (bool [a, E]) of the hinge of `p` [a, E]; 0 of none.

    >>> hinge_loss(torch.tensor([[0.4, 0.95]]), torch.tensor([[True, True]]), bound=0.9)
    tensor([0.2500])
    """
    counted = torch.where(asked, hinge(p, bound), 0.0)
    return counted.sum(1) / asked.sum(1).clamp(min=1)


def _reads(objective: "RewardBackprop") -> tuple[str, ...]:
    return (
        *(("start",) if objective.begin == "rollout" else ()),
        "actions.latent",
        *(name for name in declared(objective.judge, "reads") if name != "output"),
    )


def _writes(objective: "RewardBackprop") -> tuple[str, ...]:
    each = tuple(f"actions.yes.{objective.judge.name}.{name}" for name in objective.judge.names)
    return ("actions.closed", *each)


@part(reads=_reads, writes=_writes, units=("nats_per_dim",), paper="arXiv 2508.21066")
class RewardBackprop:
    """Hinge on a differentiable judge's probabilities, once a rollout."""

    judge: Annotated[Any, Of("judge")]
    """The differentiable judge whose probabilities are maximised, such as {preference: {model: ...}}."""
    bound: Annotated[float, Field(ge=0, le=1)] | None = 0.9
    """Probability from which a criterion gives no more gradient; None: no bound. The paper gives no value."""
    calls: Annotated[int, Field(ge=1)] = 1
    """Number of last network calls that are differentiated."""
    begin: Literal["rollout", "data"] = "rollout"
    """Where the image comes from: what was sampled, or a demonstration with noise of a random level."""
    steps: Annotated[int, Field(ge=1)] = 5
    """Network calls from a noisy demonstration to the image; not used with `begin: rollout`."""
    coefficient: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the loss."""
    mean: ClassVar[Mean] = "rollout"
    where: ClassVar[Where] = "last"

    def __post_init__(self) -> None:
        if self.begin == "data" and self.calls > self.steps:
            raise ValueError(f"calls must be at most steps = {self.steps}, got {self.calls}")
        name = type(self.judge).__name__
        if not isinstance(self.judge, Grader):
            raise ValueError(
                f"judge: {name} cannot be differentiated: it scores finished images and has no `grade` "
                "with a "
                f"gradient in them. Use it as the reward of policy_gradient, or take the judge preference"
            )
        if reason := trait(self.judge, JudgeDefaults, "no_gradient"):
            raise ValueError(f"judge: {name} cannot be differentiated: {reason}")

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], readings: p of each criterion, NaN where not asked, and the share at the bound).

        Raises ValueError when the judge's answer is not connected to the image.
        """
        image = self._image(here, rollouts, actions)
        p, asked = self.judge.grade(image, rollouts, rollouts.owner[actions])
        if image.requires_grad and not p.requires_grad:
            raise ValueError(
                f"judge '{self.judge.name}': preprocessing is not differentiable: its answer has no "
                "gradient in the "
                f"image it was shown (was it detached, or turned into numbers or 8 bits?)"
            )
        closed = torch.where(asked, hinge(p, self.bound) == 0, False).sum(1) / asked.sum(1).clamp(min=1)
        said = torch.where(asked, p.detach(), torch.nan)
        readings = {f"yes.{self.judge.name}.{name}": said[:, i] for i, name in enumerate(self.judge.names)}
        return self.coefficient * hinge_loss(p, asked, self.bound), readings | {"closed": closed}

    def _image(self, here: Here, rollouts: Rollouts, actions: Tensor) -> Tensor:
        """[a, C, H, W], what the judge is shown."""
        if self.begin == "rollout":
            return here.rendered(self.calls)
        shape = rollouts.actions.latent.shape[1:]
        draws = rollouts.uniforms("reward_backprop", actions, int(shape.numel()) + 1).numpy() + 2.0**-54
        noise = torch.from_numpy(ndtri(draws[:, 1:])).float().view(-1, *shape)
        share = torch.from_numpy(draws[:, 0])
        image: Tensor = here.unrolled(noise, share, self.steps, self.calls)  # type: ignore[attr-defined]
        return image
