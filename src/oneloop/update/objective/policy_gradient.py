"""The clipped policy gradient: make actions with a positive advantage likelier, others less likely.

    loss = -min(ratio * A, clip(ratio, 1 - low, 1 + high) * A)      ratio = p_now / p_old, one loss an action

    PPO (1707.06347), GRPO (2402.03300)   clip_low = clip_high
    DAPO (2503.14476)                     clip_high > clip_low ("clip higher"), mean: action
    Dr. GRPO (2503.20783)                 mean: constant
    GSPO (2507.18071)                     ratio: sequence, mean: rollout, clip_low 3e-4, clip_high 4e-4
    dual clip (1912.09729), TRL's delta   dual_clip: bounds the ratio where the advantage is negative
    truncated importance sampling         importance_cap: corrects sampler against trainer, old = `proximal`

GSPO's ratio is the geometric mean over the whole rollout, s = exp(mean(log p_now - log p_old)), here in the
paper's token form sg(s) * p / sg(p): the same value and, for one advantage a rollout, the same gradient as
the sequence form, but what select left out gets no gradient though it counts in s. Not here: weights of the
actions (averaging.py), KL (kl.py), entropy (entropy_bonus.py).
"""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.protocols import Here, Mean, Over
from oneloop.core.rollouts import Rollouts


def clipped_surrogate(
    ratio: Tensor, advantage: Tensor, low: float, high: float, dual: float | None = None
) -> tuple[Tensor, Tensor]:
    """(objective to maximise, clipped bool: where it is flat, so nothing is learned), of the ratio's shape.

    `dual` bounds the ratio from above where `advantage` is negative (it must exceed 1 + `high`).

    >>> ratio, advantage = torch.tensor([1.5, 1.5]), torch.tensor([1.0, -1.0])
    >>> clipped_surrogate(ratio, advantage, low=0.2, high=0.2)
    (tensor([ 1.2000, -1.5000]), tensor([ True, False]))
    """
    capped = ratio if dual is None else ratio.clamp(max=dual)
    surrogate = torch.minimum(capped * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
    down = (advantage < 0) & ((ratio < 1 - low) | (capped < ratio))
    up = (advantage > 0) & (ratio > 1 + high)
    return surrogate, down | up


def bounded_exp(log_ratio: Tensor) -> Tensor:
    """exp of `log_ratio` clamped to +-20: past e^20 a ratio is as good as infinite; overflow gives NaN."""
    return log_ratio.clamp(-20.0, 20.0).exp()


def importance_weights(proximal: Tensor, sampled: Tensor, cap: float) -> tuple[Tensor, Tensor]:
    """(min(p_proximal / p_sampled, `cap`), bool: where the cap held it), from log-probs of one shape.

    One weight an action, so a rollout of several segments is corrected segment by segment: each against the
    law that sampled it. 1 where nothing has changed since; 0 where the proximal law no longer has the action.
    """
    weight = bounded_exp(proximal - sampled)
    return weight.clamp(max=cap), weight > cap


def sequence_log_ratio(log_ratio: Tensor, rollout: Tensor | None = None) -> Tensor:
    """The mean of `log_ratio` [a] over its `rollout` [a] in value, each action's own in gradient (GSPO).

    Log-ratios [n, T] without labels: one rollout a row, NaN where it is shorter than T.

    >>> sequence_log_ratio(torch.tensor([[0.1, 0.3], [0.2, torch.nan]]))
    tensor([[0.2000, 0.2000],
            [0.2000,    nan]])
    """
    values, by = segments.flat(log_ratio.detach(), rollout)
    return segments.mean(values, by).view(log_ratio.shape) + log_ratio - log_ratio.detach()


def policy_gradient_loss(
    logprob: Tensor, old: Tensor, advantage: Tensor, low: float = 0.2, high: float = 0.2
) -> Tensor:
    """PPO's loss of each action, from log-probs now and then and advantages of one shape; not yet averaged.

    >>> logprob = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    >>> policy_gradient_loss(logprob, logprob.detach(), torch.tensor([[1.0, -1.0]])).mean().backward()
    >>> logprob.grad
    tensor([[-0.5000,  0.5000]])
    """
    return -clipped_surrogate(bounded_exp(logprob - old), advantage, low, high)[0]


def _reads(objective: "PolicyGradient") -> tuple[str, ...]:
    corrected = objective.importance_cap is not None
    old = ("actions.proximal",) if corrected or objective.old == "proximal" else ()
    sampled = ("actions.logprob",) if corrected or objective.old == "sampled" else ()
    return ("actions.advantage", *sampled, *old)


@part(reads=_reads, writes=("actions.ratio", "actions.clipped"), paper="arXiv 1707.06347")
class PolicyGradient:
    """Clipped policy gradient on `actions.advantage`; an action without a verdict has loss 0."""

    clip_low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Clip range below 1: a ratio under 1 - clip_low has no gradient where the advantage is negative."""
    clip_high: Annotated[float, Field(ge=0)] = 0.2
    """Clip range above 1: a ratio over 1 + clip_high has no gradient where the advantage is positive."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Largest ratio where the advantage is negative, above 1 + clip_high; 3 is usual. None: no bound."""
    ratio: Literal["token", "sequence"] = "token"
    """token: each action's own probability ratio. sequence: GSPO's geometric mean over the rollout."""
    importance_cap: Annotated[float, Field(gt=0)] | None = None
    """Cap of the importance weight p_proximal / p_sampled; None: no importance weight."""
    old: Literal["sampled", "proximal"] = "sampled"
    """p_old in the ratio if there is no importance_cap: sampled, or proximal, the weights at the start of the
    update (biased for actions that another prompt or model sampled)."""
    mean: Mean = "action"
    """What has equal weight in the mean: every action, rollout or group; or constant (give
    constant_length)."""
    over: Over = "kept"
    """Whether the denominator counts all actions or only those select kept."""
    constant_length: Annotated[int, Field(ge=1)] | None = None
    """Actions per rollout in the denominator of mean "constant": usually the length limit."""

    @property
    def whole(self) -> bool:
        """Whether all actions of a rollout are needed at once: true for a sequence ratio."""
        return self.ratio == "sequence"

    @property
    def clip_range(self) -> float:
        """How far a ratio may leave 1 before it has no gradient: the nearer of its two bounds."""
        return min(self.clip_low, self.clip_high)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mean == "constant") != (self.constant_length is not None):
            raise ValueError("constant_length belongs to mean='constant': give both or neither")
        if self.dual_clip is not None and self.dual_clip <= 1 + self.clip_high:
            raise ValueError(
                f"dual_clip must exceed 1 + clip_high = {1 + self.clip_high}, got {self.dual_clip}"
            )
        return self

    def teaches(self, rollouts: Rollouts) -> Tensor:
        """bool [N], where there is something to learn: an advantage of 0, or none (NaN), has no gradient."""
        return rollouts.actions.advantage.nan_to_num(0.0, torch.inf, -torch.inf) != 0

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], readings `ratio`, `clipped` and, when corrected, `importance`)."""
        table, logprob = rollouts.actions, here.logprob
        start = self.importance_cap is not None or self.old == "proximal"
        old = (table.proximal if start else table.logprob)[actions].to(logprob)
        old = self._filled(old, logprob, rollouts, actions)
        log_ratio = logprob - old
        if self.importance_cap is not None:  # what top-k or top-p now leaves out: its weight is 0, not NaN
            log_ratio = torch.where(old == -torch.inf, 0.0, log_ratio)
        if self.whole:
            log_ratio = sequence_log_ratio(log_ratio, _rollout_of(rollouts, actions, log_ratio))
        ratio = bounded_exp(log_ratio)
        # NaN is no verdict: nothing to learn from this action
        advantage = table.advantage[actions].to(ratio).nan_to_num(0.0)
        surrogate, clipped = clipped_surrogate(
            ratio, advantage, self.clip_low, self.clip_high, self.dual_clip
        )
        readings = {"ratio": ratio.detach(), "clipped": clipped.to(ratio.dtype)}
        if self.importance_cap is not None:
            sampled = self._filled(table.logprob[actions].to(logprob), old, rollouts, actions)
            weight, capped = importance_weights(old, sampled, self.importance_cap)
            readings |= {"importance": weight, "importance_capped": capped.to(weight.dtype)}
            surrogate = surrogate * weight
        return -surrogate, readings

    def _filled(self, old: Tensor, value: Tensor, rollouts: Rollouts, actions: Tensor) -> Tensor:
        """`old` [a], and `value` where it is NaN and this objective does not look.

        Another objective may have all actions forwarded, also those that nobody annotated. Their loss has
        weight 0, but a NaN in it would be NaN in the gradient too.
        """
        missing = old.isnan()
        if not bool(missing.any()):
            return old
        looks = rollouts.actions.share > 0
        if self.whole:
            looks = (rollouts.gather(looks.double(), "sum") > 0)[rollouts.owner]
        return torch.where(missing & ~looks[actions].to(missing.device), value.detach(), old)


def _rollout_of(rollouts: Rollouts, actions: Tensor, log_ratio: Tensor) -> Tensor:
    """[a], the rollout of each action. Raises ValueError where a sequence ratio is not defined."""
    if not rollouts.structure.is_chain and len(rollouts.paths[1].unique()) < len(rollouts.paths[1]):
        raise ValueError("ratio='sequence' needs rollouts that share no action; on a tree use ratio='token'")
    owner = rollouts.owner[actions].to(log_ratio.device)
    if bool(log_ratio.isnan().any()):
        rows = owner[log_ratio.isnan()].unique()[:8].tolist()
        raise ValueError(
            f"ratio='sequence' needs the old log-probability of every action; some are NaN in rollouts {rows}"
        )
    return owner
