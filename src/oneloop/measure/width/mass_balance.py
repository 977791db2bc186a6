"""Where probability mass goes in one update: sampled correct, sampled incorrect, and what nobody sampled.

    V vocabulary   p = softmax(z)   P the correct tokens, the rest incorrect   N rollouts   eta step size
    Q = sum of p over P      w_i = what token i earned (0 if unsampled)      dz_i = (eta / N) g_i

    surrogate "linear"     L = -1/N sum w_i p_i       g_i = p_i (w_i - W),    W = sum w_k p_k   (the paper's)
    surrogate "logprob"    L = -1/N sum w_i log p_i   g_i = w_i - p_i W,      W = sum w_k   (policy gradient)

    dQ = (eta / N) [(1 - Q) sum over P of p_i g_i  -  Q sum over the rest of p_i g_i]

Theorem 1 of BroRL (arXiv 2510.01180) is `linear` with w_i = R_i on the *distinct* sampled tokens; its three
terms are the sampled part of the first sum, of the second, and all unsampled tokens, which alone may lower Q:
W (Q U-^2 - (1 - Q) U+^2). With a mean baseline and `logprob`, which is what GRPO does, W is 0: that term is
gone for every N. Sums are in float64. Not here: the second order of a step, many steps (token_simulator.py).
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Surrogate = Literal["linear", "logprob"]


@dataclass(frozen=True)
class MassBalance:
    """First-order change of Q, the probability of all correct tokens, by who caused it; float64 [...]."""

    sampled_correct: Tensor
    """By sampled correct tokens. Never negative where correct tokens earn >= 0 and incorrect ones <= 0
    (surrogate linear)."""
    sampled_incorrect: Tensor
    """By sampled incorrect tokens; never negative in the same case."""
    unsampled: Tensor
    """By tokens nobody sampled; of either sign."""
    q_pos: Tensor
    """Q before the step."""
    unsampled_factor: Tensor
    """W, the factor of the unsampled term; for surrogate linear the paper's S_R, the batch's net reward."""
    logit_step: Tensor
    """dz [..., V]."""
    per_token: Tensor
    """First-order change of each p [..., V]; sums to 0."""

    @property
    def total(self) -> Tensor:
        """dQ."""
        return self.sampled_correct + self.sampled_incorrect + self.unsampled


def mass_balance(
    logits: Tensor,
    correct: Tensor,
    counts: Tensor,
    *,
    reward_correct: float = 1.0,
    reward_wrong: float = -1.0,
    learning_rate: float = 1.0,
    surrogate: Surrogate = "linear",
    baseline: Literal["mean"] | None = None,
    multiplicity: bool = False,
) -> MassBalance:
    """The balance of one gradient step on `logits` [..., V].

    `correct` bool [..., V]; `counts` int [..., V], how often each token was drawn; N is their sum. `baseline`
    mean: of what was drawn. `multiplicity`: a token drawn c times weighs c; False: each distinct token once,
    as in the theorem. Raises ValueError for shapes that differ, negative counts, and logits that are NaN or
    +inf, naming where; -inf is a token that cannot occur. Warns where the theorem's signs do not hold, and of
    single rollouts with a mean baseline, which teach nothing.
    """
    _check(logits, correct, counts)
    if reward_correct < 0 or reward_wrong > 0:
        warnings.warn(
            f"the theorem takes reward_correct >= 0 >= reward_wrong, got {reward_correct} and "
            f"{reward_wrong}: its sampled terms may now be negative",
            stacklevel=2,
        )
    if baseline == "mean" and bool((counts.sum(-1) == 1).any()):
        warnings.warn(
            "a single rollout is its own mean: with baseline='mean' it teaches nothing", stacklevel=2
        )
    drawn = counts.double() if multiplicity else (counts > 0).double()
    reward = correct.double() * reward_correct + (~correct).double() * reward_wrong
    if baseline == "mean":
        reward = reward - (drawn * reward).sum(-1, keepdim=True) / drawn.sum(-1, keepdim=True).clamp(min=1)
    return balance_of(logits, correct, drawn * reward, counts, learning_rate, surrogate)


def balance_of(
    logits: Tensor,
    correct: Tensor,
    weights: Tensor,
    counts: Tensor,
    learning_rate: float = 1.0,
    surrogate: Surrogate = "linear",
) -> MassBalance:
    """The same for any `weights` [..., V], what each token earned in all (rewards that are not binary).

    Raises ValueError as `mass_balance`.
    """
    _check(logits, correct, counts)
    p, weights = logits.double().softmax(-1), weights.double()
    rate = learning_rate / counts.double().sum(-1, keepdim=True).clamp(min=1)
    step, unsampled_factor = logit_gradient(p, weights, surrogate)
    q_pos = torch.where(correct, p, 0.0).sum(-1)
    moved, sampled = p * step, counts > 0
    gain = torch.where(correct, (1 - q_pos)[..., None] * moved, -q_pos[..., None] * moved) * rate
    return MassBalance(
        sampled_correct=torch.where(correct & sampled, gain, 0.0).sum(-1),
        sampled_incorrect=torch.where(~correct & sampled, gain, 0.0).sum(-1),
        unsampled=torch.where(sampled, 0.0, gain).sum(-1),
        q_pos=q_pos,
        unsampled_factor=unsampled_factor,
        logit_step=rate * step,
        per_token=rate * p * (step - moved.sum(-1, keepdim=True)),
    )


def logit_gradient(p: Tensor, weights: Tensor, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """(g [..., V], W [...]) of probabilities `p` and `weights`, [..., V]; N and the rate are left out."""
    if surrogate == "linear":
        unsampled_factor = (weights * p).sum(-1)
        return p * (weights - unsampled_factor[..., None]), unsampled_factor
    if surrogate == "logprob":
        unsampled_factor = weights.sum(-1)
        return weights - p * unsampled_factor[..., None], unsampled_factor
    raise ValueError(f"surrogate must be linear or logprob, got {surrogate!r}")


def _check(logits: Tensor, correct: Tensor, counts: Tensor) -> None:
    if not logits.shape == correct.shape == counts.shape:
        shapes = f"{tuple(logits.shape)}, {tuple(correct.shape)} and {tuple(counts.shape)}"
        raise ValueError(f"logits, correct and counts must have one shape [..., V], got {shapes}")
    if correct.dtype != torch.bool:
        raise ValueError(f"correct must be bool, got {correct.dtype}")
    for bad, what in ((logits.isnan() | (logits == torch.inf), "logits"), (counts < 0, "counts")):
        if bool(bad.any()):
            place = bad.nonzero()[0].tolist()
            value = (logits if what == "logits" else counts)[tuple(place)].item()
            raise ValueError(f"{what}: got {value} at prompt {place[:-1] or 0}, token {place[-1]}")
