"""Token-level credit: the outcome for all tokens of a rollout, less a penalty on those of its wrong steps.

    R[t] = outcome * outcome_weight - flaw[t] * process_weight
    A[t] = (R[t] - mean) / (std + eps)        over all tokens of all rollouts of the prompt

CAPO (arXiv 2508.02298, Eq. 2). Local: a token is credited with its own R, no return-to-go, no discount. Four
levels at (2, 1): right and clean 2, right but flawed 1, wrong but clean 0, wrong and flawed -1; the outcome
dominates while process_weight < outcome_weight. Special cases:

    process_weight 0, equal lengths       GRPO's advantage (population std), on every token
    outcome_weight 0                      process supervision alone
    pool: response_balanced               every rollout weighs the same in mean and std, however long

The pool weighs long rollouts more: right in 2 tokens against wrong in 8 is +2 against -0.5. Rewards are never
summed over a rollout before they are normalised, which would favour length. Only the ratio of the two weights
matters. Groups that are all right or all wrong teach as soon as one step is flawed.
A rollout without a usable critique has flaws NaN: it goes by its outcome alone. One without an outcome gets
no advantage. On a tree an action's outcome is the mean over the rollouts through it.
"""

import warnings
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts

Pool = Literal["token_pool", "response_balanced"]


def token_rewards(
    outcome: Tensor, flaw: Tensor, outcome_weight: float = 2.0, process_weight: float = 1.0
) -> Tensor:
    """float64 [N], R of each token from its rollout's `outcome` [N] and its `flaw` [N] in 0..1.

    Any shapes that broadcast will do, such as outcomes [B, G, 1] and flaws [B, G, T]. NaN in `flaw` is no
    penalty; NaN in `outcome` stays. Raises ValueError for an infinite outcome.

    >>> token_rewards(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    tensor([[ 2.,  1.],
            [ 0., -1.]], dtype=torch.float64)
    """
    exact = outcome.double()
    if bool(exact.isinf().any()):
        places = exact.isinf().reshape(-1).nonzero().squeeze(1)[:8].tolist()
        raise ValueError(f"outcomes must be finite or NaN (no verdict); infinite at actions {places}")
    return exact * outcome_weight - flaw.double().nan_to_num(0.0) * process_weight


def token_advantages(
    reward: Tensor,
    group: Tensor | None = None,
    rollout: Tensor | None = None,
    *,
    pool: Pool = "token_pool",
    scale: Literal["std", "none"] = "std",
    ddof: Literal[0, 1] = 0,
    eps: float = 1e-6,
) -> Tensor:
    """float64, each of `reward` [N] less the mean of its `group` [N], over its standard deviation.

    `rollout` [N] is the rollout of each token, for pool response_balanced. Rewards [B, G, T] need no labels:
    B groups of G rollouts, NaN where a rollout is shorter than T. NaN is ignored and stays NaN. Exactly 0
    where all rewards of a group are equal, never a quotient of rounding residues.

    >>> token_advantages(torch.tensor([[[2.0, 1.0], [0.0, torch.nan]]]), eps=0.0)
    tensor([[[ 1.2247,  0.0000],
             [-1.2247,     nan]]], dtype=torch.float64)
    """
    shape = reward.shape
    if rollout is None and pool == "response_balanced":
        rows = segments.flat(reward.flatten(0, 1), None)[1] if reward.ndim > 2 else None
        if rows is None:
            raise ValueError("pool='response_balanced' needs `rollout`, or rewards [B, G, T]")
        rollout = rows
    reward, group = segments.flat(reward, group)
    exact = reward.double()
    weight = (~exact.isnan()).double()
    if pool == "response_balanced" and rollout is not None:
        weight = weight / segments.count(exact, rollout.reshape(-1)).clamp(min=1)
    size = segments.total(weight, group)
    centred = exact - segments.total(weight * exact.nan_to_num(0.0), group) / size
    if scale == "std":
        squares = segments.total(weight * centred.nan_to_num(0.0).square(), group)
        centred = centred / ((squares / (size - ddof)).sqrt() + eps)
    flat = segments.constant(exact, group)
    return torch.where(exact.isnan(), torch.nan, torch.where(flat, 0.0, centred)).view(shape)


@part(reads=("reward", "actions.flaw"), writes=("actions.advantage",), paper="arXiv 2508.02298")
class TokenLevel:
    """Writes `actions.advantage`, float32 [N], from the reward of each rollout and the flaw of each token."""

    outcome_weight: Annotated[float, Field(ge=0)] = 2.0
    """Weight of the outcome, on every token (the paper's C, W_whole)."""
    process_weight: Annotated[float, Field(ge=0)] = 1.0
    """Penalty on a token of a wrong step (P, W_process); above outcome_weight flaws outrank outcomes."""
    pool: Pool = "token_pool"
    """Pool of mean and std: all tokens of the prompt (token_pool, the paper), or with equal weight per
    rollout."""
    scale: Literal["std", "none"] = "std"
    """Whether the centred reward is divided by the standard deviation."""
    ddof: Literal[0, 1] = 0
    """0: population std; 1: unbiased std over tokens (token_pool alone). The paper does not say which."""
    eps: Annotated[float, Field(ge=0)] = 1e-6
    """Added to the std; the paper does not give its value."""

    def __post_init__(self) -> None:
        if self.outcome_weight == self.process_weight == 0:
            raise ValueError("outcome_weight and process_weight are both 0, so every reward is 0")
        if self.ddof == 1 and self.pool == "response_balanced":
            raise ValueError(
                "ddof: 1 counts tokens, but pool response_balanced weighs rollouts; write ddof: 0"
            )
        if self.process_weight > self.outcome_weight > 0:
            warnings.warn(
                f"token_level: process_weight {self.process_weight:g} exceeds outcome_weight "
                f"{self.outcome_weight:g}: right but flawed ranks below wrong but clean",
                stacklevel=3,
            )

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with advantages; warns when a group is a single rollout without contrast."""
        judged = ~rollouts.reward.isnan()
        known = rollouts.spread(judged.double())
        outcome = rollouts.spread(rollouts.reward.double().where(judged, 0.0)) / known
        reward = token_rewards(outcome, rollouts.actions.flaw, self.outcome_weight, self.process_weight)
        group = rollouts.group[rollouts.owner]
        advantage = token_advantages(
            reward,
            group,
            rollouts.owner,
            pool=self.pool,
            scale=self.scale,
            ddof=self.ddof,
            eps=self.eps,
        )
        _warn_of_singletons(rollouts, reward, group)
        return rollouts.put_actions(advantage=advantage.float())


def _warn_of_singletons(rollouts: Rollouts, reward: Tensor, group: Tensor) -> None:
    alone = segments.count(rollouts.reward.double(), rollouts.group) == 1
    flat = torch.isin(group, rollouts.group[alone]) & segments.constant(reward, group)
    if bool(flat.any()):
        warnings.warn(
            f"token_level: {len(group[flat].unique())} group(s) have a single rollout with a verdict and no "
            "wrong step; its advantage is 0, so it teaches nothing; sample at least 2 per group",
            stacklevel=3,
        )
