"""One-Token Rollout: one REINFORCE step at every position of a demonstration (OTR, arXiv 2509.26313).

    p = softmax(z)   q = softmax(z / temperature)   R(a) = 1 if a is the demonstrated token, else wrong_reward
    sample:  loss = -1/K sum_j (R(a_j) - b_j) log p(a_j),  a_1..a_K ~ q          (K = num_samples)
    exact:   loss = -sum_a sg(q_a) (R(a) - b) log p_a                        its expectation, without noise

With demonstrated token x the expected gradient in the logits is -(1 - wrong)(q_x)(e_x - p) - wrong (q - p):
at temperature 1 it is (1 - wrong) times DFT's (`supervised`, weigh: probability) whatever `wrong_reward` is.
It refines what the policy half knows and hardly moves where p_x is tiny; SFT (supervised.py) is the opposite.
The loss value means nothing (it may be negative): watch `nll` and `hit_rate`. All K draws share one forward.

    a positions (actions of demonstrations)   V vocabulary   K draws a position
Not here: other rewards than matching (give `policy_gradient_loss` your own [a, K]).
"""

import warnings
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts

Estimator = Literal["sample", "exact"]
Baseline = Literal["none", "leave_one_out"]
CHUNK = 2**22  # logits held in fp32 at a time (16 MB); more is not faster, the softmax is bound by memory
OFTEN_MISSED = 0.5


def sample_tokens(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """int64 [a, K], tokens of softmax(`logits` [a, V] / temperature), one for each of `uniforms` [a, K].

    By inverse cumulative distribution, so a draw depends on its uniform alone. A token of probability 0
    (a logit of -inf) is never drawn, every other one can be: give `uniforms` in float64.

    >>> logits, uniforms = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.1, 0.9]], dtype=torch.float64)
    >>> sample_tokens(logits, uniforms, temperature=1.0)
    tensor([[0, 1]])
    """
    # summed in fp32 over a vocabulary of 151,936, one token in twelve would have an empty interval
    law = (logits.detach() / temperature).softmax(-1)
    cumulative = law.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    # rounding must not step past the last possible token
    below = torch.nextafter(total, torch.zeros_like(total))
    wanted = torch.minimum(uniforms.to(cumulative) * total, below)
    return torch.searchsorted(cumulative, wanted.contiguous(), right=True)


def in_order(uniforms: Tensor) -> Tensor:
    """float64 [a, K], K sorted uniform numbers from K + 1 unsorted ones [a, K + 1], without sorting.

    Partial sums of exponential variables over their total. The loss does not ask which draw came first, and
    looking up numbers in order is twice as fast.
    """
    sums = -torch.log1p(-uniforms.double().clamp(max=1 - 2**-53)).cumsum(-1)
    return sums[:, :-1] / sums[:, -1:]


def leave_one_out(reward: Tensor) -> Tensor:
    """[a, K], each reward minus the mean of the K - 1 others of its position.

    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    others = (reward.sum(-1, keepdim=True) - reward) / (reward.shape[-1] - 1)
    return reward - others


def policy_gradient_loss(logits: Tensor, samples: Tensor, reward: Tensor, temperature: float = 1.0) -> Tensor:
    """[a], -mean_j reward_j log softmax(`logits` / temperature)[sample_j]; `samples` and `reward` [a, K].

    >>> policy_gradient_loss(torch.zeros(1, 2), torch.tensor([[0, 1]]), torch.tensor([[1.0, 0.0]]))
    tensor([0.3466])
    """
    scaled = logits / temperature if temperature != 1 else logits
    logprobs = scaled.gather(-1, samples) - scaled.logsumexp(-1, keepdim=True)
    return -(reward.detach() * logprobs).mean(-1)


def exact_loss(
    logits: Tensor,
    gold: Tensor,
    wrong_reward: float,
    sampling_temperature: float,
    baseline: Baseline = "none",
    temperature: float = 1.0,
) -> Tensor:
    """[a], expectation of `policy_gradient_loss` over samples of softmax(`logits` / sampling_temperature).

    Without the stop-gradient on the sampling law the gradient on the right token has the wrong sign.
    """
    law = (logits.detach() / sampling_temperature).softmax(-1)
    reward = torch.full_like(law, wrong_reward).scatter(-1, gold[:, None], 1.0)
    if baseline == "leave_one_out":
        reward = reward - (law * reward).sum(-1, keepdim=True)
    logprobs = (logits / temperature).log_softmax(-1)
    possible = logprobs > -torch.inf  # 0 * -inf is NaN
    return -(law * reward * torch.where(possible, logprobs, 0.0)).sum(-1)


@part(reads=("actions.token",), writes=("actions.nll",), units=("nats", "discrete"), paper="arXiv 2509.26313")
class OneToken:
    """One-token policy gradient on demonstrations."""

    estimator: Estimator = "sample"
    """sample: draw tokens, as the paper does. exact: the expectation over all tokens, without draws."""
    num_samples: Annotated[int, Field(ge=1)] = 256
    """Draws at every position (K); 16 are nearly as good."""
    wrong_reward: Annotated[float, Field(lt=1)] = -0.1
    """Reward of a token that is not the demonstrated one."""
    temperature: Annotated[float, Field(gt=0)] = 1.3
    """Temperature of the draws; above 1 explores, and makes a negative wrong_reward sharpen."""
    baseline: Baseline = "none"
    """Baseline of a reward: nothing (none), or the mean of the position's other draws (leave_one_out)."""
    tempered_logprob: bool = False
    """Whether log p in the loss is taken at `temperature` too, so that draws and log p share one law."""
    mean: Literal["action", "rollout", "group"] = "action"
    """What has equal weight in the mean: every action (token mean), rollout (the paper) or group."""
    whole_logits: ClassVar[bool] = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.baseline == "leave_one_out" and self.estimator == "sample" and self.num_samples < 2:
            raise ValueError(f"baseline='leave_one_out' needs num_samples >= 2, got {self.num_samples}")
        if self.wrong_reward < -1:
            warnings.warn(
                f"one_token: wrong_reward={self.wrong_reward} outweighs the right token; -0.1 is usual",
                stacklevel=2,
            )
        return self

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], readings `nll`, `hit_rate`, `entropy`, and `missed`: no draw was the right token).

        Raises ValueError naming the first rollout whose token is outside the vocabulary or impossible, or
        whose logits are not numbers.
        """
        logits = here.logits
        gold = rollouts.actions.token[actions].to(logits.device)
        _check_tokens(gold, logits.shape[1], rollouts, actions)
        size = max(1, CHUNK // logits.shape[1])
        chunks = [slice(start, start + size) for start in range(0, max(len(actions), 1), size)]
        pieces = [self._piece(logits[chunk], gold[chunk], rollouts, actions[chunk]) for chunk in chunks]
        readings = {name: torch.cat([read[name] for _, read in pieces]) for name in pieces[0][1]}
        _warn_of_misses(readings["missed"])
        return torch.cat([loss for loss, _ in pieces]), readings

    def _piece(
        self, logits: Tensor, gold: Tensor, rollouts: Rollouts, actions: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and readings of some positions, holding their fp32 logits only while it runs."""
        samples = None
        with torch.no_grad():
            exact = _upcast(logits)
            readings = _read(exact, gold)
            _check_numbers(readings["nll"], rollouts, actions)
            if self.estimator == "sample":
                draws = rollouts.uniforms("one_token", actions, self.num_samples + 1).to(exact.device)
                samples = sample_tokens(exact, in_order(draws), self.temperature)
                readings["hit_rate"] = (samples == gold[:, None]).to(exact.dtype).mean(-1)
            else:
                law = (exact / self.temperature).softmax(-1)
                readings["hit_rate"] = law.gather(-1, gold[:, None]).squeeze(1)
            readings["missed"] = (readings["hit_rate"] == 0).to(exact.dtype)
        # recomputed in the backward pass, or every chunk's softmax would stay alive until then
        return _recomputed(lambda z: self._loss(_upcast(z), gold, samples), logits), readings

    def _loss(self, logits: Tensor, gold: Tensor, samples: Tensor | None) -> Tensor:
        own = self.temperature if self.tempered_logprob else 1.0
        if samples is None:
            return exact_loss(logits, gold, self.wrong_reward, self.temperature, self.baseline, own)
        right = (samples == gold[:, None]).to(logits.dtype)
        reward = right + self.wrong_reward * (1 - right)
        return policy_gradient_loss(
            logits, samples, leave_one_out(reward) if self.baseline == "leave_one_out" else reward, own
        )


def _upcast(logits: Tensor) -> Tensor:
    """fp32 (fp64 stays): probabilities in bf16 distort the tail that is drawn from."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _recomputed(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return function(logits)
    return cast(Tensor, checkpoint(function, logits, use_reentrant=False, preserve_rng_state=False))


def _read(logits: Tensor, gold: Tensor) -> dict[str, Tensor]:
    """{nll, entropy} [a] of softmax(`logits` [a, V])."""
    logprobs = logits.log_softmax(-1)
    nll = -logprobs.gather(-1, gold[:, None]).squeeze(1)
    return {"nll": nll, "entropy": torch.special.entr(logprobs.exp()).sum(-1)}


def _check_tokens(gold: Tensor, vocabulary: int, rollouts: Rollouts, actions: Tensor) -> None:
    wrong = (gold < 0) | (gold >= vocabulary)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"one_token: token {int(gold[first])} at {_place(rollouts, actions[first])} is not in the "
            f"vocabulary of {vocabulary}; what is not to be learned has share 0, not a token of its own"
        )


def _check_numbers(nll: Tensor, rollouts: Rollouts, actions: Tensor) -> None:
    if bool(nll.isfinite().all()):
        return
    first = int((~nll.isfinite()).nonzero()[0])
    what = "the logits are not finite numbers" if bool(nll[first].isnan()) else "the token has probability 0"
    raise ValueError(f"one_token: {what} at {_place(rollouts, actions[first])}")


def _place(rollouts: Rollouts, action: Tensor) -> str:
    row = int(rollouts.owner[action])
    return f"position {int(rollouts.depth[action])} of rollout {row} (id {int(rollouts.id[row])})"


def _warn_of_misses(missed: Tensor) -> None:
    if len(missed) and float(missed.mean()) > OFTEN_MISSED:
        warnings.warn(
            f"one_token: no draw was the right token at {float(missed.mean()):.0%} of the positions: the "
            "demonstrations are off-distribution; start with some supervised steps",
            stacklevel=3,
        )
