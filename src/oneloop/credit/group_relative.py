"""Group-relative advantage: how much better a rollout was than the others of its group.

    advantage = (reward - baseline) / (scale + eps)            one number a rollout, the same for its actions

One operator, and the published estimators are settings of it:

    GRPO (2402.03300)            centre: mean             scale: group
    Dr. GRPO (2503.20783)        centre: mean             scale: none    (and the objective's mean: constant)
    RLOO (2402.14740)            centre: leave_one_out    scale: none    (= n / (n - 1) * centre: mean)
    REINFORCE++ baseline (2501.03262)   centre: mean      scale: whiten
    the same as BroRL runs it (2510.01180)   centre: mean   scale: whiten_actions   ddof: 0
    TRL's scale_rewards="batch" (2508.08221)   centre: mean   scale: batch   eps: 1e-4
    REINFORCE                    centre: none             scale: none

`whiten` gives every rollout one vote in the batch's mean and deviation, `whiten_actions` every action: then
long rollouts move the mean, and a group whose rewards are equal gets an advantage that is not 0. Refuse such
groups first (a plan's `keep: keep_mixed`). On a tree an action gets the mean over its leaves.

Not here: the loss mask of truncated rollouts (select/truncated.py), a penalty on them (a judge), advantages
of single tokens or of tree nodes by depth.
"""

import warnings
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts

Centre = Literal["mean", "leave_one_out", "none"]
Scale = Literal["group", "batch", "whiten", "none"]


def group_relative(
    reward: Tensor,
    group: Tensor | None = None,
    *,
    centre: Centre = "mean",
    scale: Scale = "group",
    ddof: Literal[0, 1] = 1,
    eps: float = 0.0,
    counted: Tensor | None = None,
) -> Tensor:
    """float64, the advantage of each of `reward` [n] among those with the same label in `group` [n].

    Rewards [B, G] without labels are compared row by row. `counted` (bool, of the rewards' shape) marks the
    rewards that make the baseline and the scale (default: all). NaN is ignored and stays NaN. Exactly 0 where
    all rewards of the group are equal (unless nothing is subtracted), and where there is nothing to compare
    with: a single verdict, a scale of 0, a group without counted rewards.
    Raises ValueError for an infinite reward.

    >>> group_relative(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[ 0.7071, -0.7071],
            [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    shape = reward.shape
    reward, group = segments.flat(reward, group)
    exact = reward.double()
    counted = None if counted is None else counted.reshape(-1)
    if bool(exact.isinf().any()):
        raise ValueError(
            f"rewards must be finite or NaN (no verdict); infinite at rows {_rows(exact.isinf())}"
        )
    known = exact if counted is None else torch.where(counted, exact, torch.nan)
    centred = _centred(exact, known, group, centre)
    batch = torch.zeros_like(group)
    if scale == "none":
        advantage = centred
    elif scale == "whiten":
        shown = torch.where(known.isnan(), torch.nan, centred)
        # after a baseline the batch's mean is 0 but for rounding, which must not reach equal rewards
        middle = segments.mean(shown, batch) if centre == "none" else 0.0
        advantage = _divide(centred - middle, segments.deviation(shown, batch, ddof), eps)
    else:
        spread = segments.deviation(known, group if scale == "group" else batch, ddof)
        advantage = _divide(centred, spread, eps)
    return torch.where(exact.isnan(), torch.nan, torch.where(advantage.isnan(), 0.0, advantage)).view(shape)


def whiten_actions(
    advantage: Tensor, counted: Tensor | None = None, *, ddof: Literal[0, 1] = 1, eps: float = 0.0
) -> Tensor:
    """float64, `advantage` (any shape) minus its mean over its std, both over the `counted` actions (or all).

    NaN does not count and stays NaN. Exactly 0 everywhere when all counted actions have one value.

    >>> whiten_actions(torch.tensor([1.0, 3.0]), ddof=0)
    tensor([-1.,  1.], dtype=torch.float64)
    """
    exact = advantage.double().reshape(-1)
    batch = torch.zeros_like(exact, dtype=torch.long)
    shown = exact if counted is None else torch.where(counted.reshape(-1), exact, torch.nan)
    if bool(segments.constant(shown, batch).all()):
        return (exact * 0.0).view(advantage.shape)
    spread = segments.deviation(shown, batch, ddof)
    return ((exact - segments.mean(shown, batch)) / (spread + eps)).view(advantage.shape)


def _centred(exact: Tensor, known: Tensor, group: Tensor, centre: Centre) -> Tensor:
    """[n], `exact` minus the baseline that `known` (NaN = does not count) gives."""
    if centre == "none":
        return exact
    inside = segments.centre(known, group, leave_one_out=centre == "leave_one_out")
    # who does not count is not part of the baseline either way; equal rewards must leave no rounding residue
    equal = segments.constant(exact, group)
    outside = torch.where(equal, 0.0, exact - segments.mean(known, group))
    return torch.where(known.isnan(), outside, inside)


def _divide(values: Tensor, spread: Tensor, eps: float) -> Tensor:
    return torch.where(spread > 0, values / (spread + eps), 0.0)


@part(reads=("reward",), writes=("actions.advantage",), paper="arXiv 2402.03300")
class GroupRelative:
    """Writes `actions.advantage`, float32 [N]: every action of a rollout gets the rollout's advantage."""

    by: Literal["group", "batch"] = "group"
    """Rollouts that are compared: those of one group (prompt), or all of the batch."""
    centre: Centre = "mean"
    """Baseline that is subtracted: the mean, the mean of the others (leave_one_out), or none."""
    scale: Scale | Literal["whiten_actions"] = "group"
    """Divisor: none, the std of rewards in the group or batch, or of the batch's advantages, where each
    rollout (whiten) or each action (whiten_actions, which subtracts their mean too) counts once."""
    ddof: Literal[0, 1] = 1
    """1: unbiased std (TRL, verl, OpenRLHF; two rewards give +-0.707). 0: population std (+-1)."""
    eps: Annotated[float, Field(ge=0)] = 0.0
    """Added to the std. Not needed here: equal rewards give exactly 0 without it. TRL has 1e-4."""
    truncated_in_baseline: bool = True
    """Whether rollouts cut off by the length limit count in mean and std; they get an advantage either
    way."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with advantages; warns when a group has a single verdict, which teaches nothing."""
        group = rollouts.group if self.by == "group" else torch.zeros_like(rollouts.group)
        if self.centre != "none":
            _warn_of_singletons(rollouts.reward, group)
        counted = None
        if not self.truncated_in_baseline:
            counted = torch.tensor([status != "length" for status in rollouts.status])
        advantage = group_relative(
            rollouts.reward,
            group,
            centre=self.centre,
            scale="none" if self.scale == "whiten_actions" else self.scale,
            ddof=self.ddof,
            eps=self.eps,
            counted=counted,
        )
        advantage = _spread(rollouts, advantage)
        if self.scale == "whiten_actions":
            among = torch.ones(len(rollouts)) if counted is None else counted.float()
            advantage = whiten_actions(advantage, rollouts.spread(among) > 0, ddof=self.ddof, eps=self.eps)
        return rollouts.put_actions(advantage=advantage.float())


def _spread(rollouts: Rollouts, values: Tensor) -> Tensor:
    """[N], the mean over the rollouts with a verdict through each action; NaN where none has one."""
    judged = ~values.isnan()
    return rollouts.spread(values.nan_to_num(0.0)) / rollouts.spread(judged.to(values.dtype))


def _warn_of_singletons(reward: Tensor, group: Tensor) -> None:
    verdicts = segments.count(reward.double(), group)
    alone = int(((verdicts == 1) & ~reward.isnan()).sum())
    if alone:
        warnings.warn(
            f"group_relative: {alone} group(s) have a single rollout with a verdict; its advantage is 0, "
            "so it teaches nothing; sample at least 2 per group",
            stacklevel=3,
        )


def _rows(flags: Tensor) -> list[int]:
    return flags.nonzero().squeeze(1)[:8].tolist()
