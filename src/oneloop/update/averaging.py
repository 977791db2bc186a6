"""The weight of each action's loss in an optimiser step: the one place where denominators are computed.

    n rollouts   N actions        loss = sum_a weight[a] * loss[a]

The weights of a whole optimiser step are computed before it is cut into micro-batches, so any cut gives
the same gradient. Length bias is a choice made here: `action` is the token mean (DAPO), `rollout` the
mean of means (GRPO, GSPO), `group` the token mean inside each prompt (DAPO and ScaleRL as written),
`constant` the unbiased sum of Dr. GRPO (arXiv 2503.20783).
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from oneloop.core import segments
from oneloop.core.protocols import Mean, Over, Where, trait
from oneloop.core.rollouts import Rollouts


@dataclass(frozen=True)
class Averaging:
    """How the losses of one objective are averaged; an objective that says nothing averages like this.

    An objective says otherwise with an attribute, a property or an option of the same name.
    """

    mean: Mean = "action"
    """What has equal weight: every action, rollout or group; or constant (Dr. GRPO)."""
    over: Over = "kept"
    """Whether the denominator counts all actions or only those select kept."""
    where: Where = "kept"
    """Actions with a loss: those select kept, all, or the last kept one of each rollout."""
    constant_length: int | None = None
    """Actions per rollout in the denominator of mean "constant"."""
    whole: bool = False
    """Whether a rollout's actions must come in one piece, masked ones included (sequence ratios)."""


def averaging(objective: Any) -> Averaging:
    """How `objective` wants its losses averaged: what it says of itself, defaults for the rest."""
    names = [field.name for field in fields(Averaging)]
    return Averaging(**{name: trait(objective, Averaging, name) for name in names})


def action_weights(objective: Any, rollouts: Rollouts) -> Tensor:
    """float64 [N], how much each action's loss counts in one optimiser step of `objective`."""
    how = averaging(objective)
    return weights(rollouts, how.mean, how.over, how.where, how.constant_length)


def weights(
    rollouts: Rollouts,
    mean: Mean,
    over: Over = "kept",
    where: Where = "kept",
    constant_length: int | None = None,
) -> Tensor:
    """float64 [N], the weight of each action's loss; 0 where it is not computed.

    `mean` names what weighs alike: every action, every rollout (the mean of its actions, each rollout of a
    tree with its whole path), every group (the mean of its actions), or `constant`: the kept actions over
    (rollouts with one * `constant_length`). What has no action left is not counted, so nothing is 0 / 0.
    `where` "all" ignores `share`; "last" keeps of each rollout its last action alone. `over` "all" keeps in
    the denominator what select left out. The weights sum to 1 for action, rollout and group with `over`
    "kept"; nothing kept gives all zeros.
    Raises ValueError for an unknown `mean`, and for `constant` without a length.
    """
    everything = torch.ones(len(rollouts.actions), dtype=torch.float64)
    kept = everything if where == "all" else (rollouts.actions.share > 0).double()
    if where == "last":
        everything = ends(rollouts)
        kept = kept * everything
    counted = everything if over == "all" else kept
    if mean == "action":
        return kept / counted.sum().clamp(min=1)
    row, action = rollouts.paths
    if mean == "group":
        group = row.new_zeros(len(kept)).scatter(0, action, rollouts.group[row])
        size = segments.total(counted, group)
        groups = len(group[size > 0].unique())
        return kept / (size.clamp(min=1) * max(groups, 1))
    size = counted.new_zeros(len(rollouts)).index_add_(0, row, counted[action])
    acting = (size > 0).sum().clamp(min=1)
    if mean == "rollout":
        each = 1 / (acting * size.clamp(min=1))
        return kept * kept.new_zeros(len(kept)).index_add_(0, action, each[row])
    if mean != "constant":
        raise ValueError(f"mean is action, rollout, group or constant, got {mean!r}")
    if constant_length is None or constant_length < 1:
        raise ValueError(
            f"mean='constant' needs constant_length, a number of actions >= 1, got {constant_length}"
        )
    return kept / (acting * constant_length)


def ends(rollouts: Rollouts) -> Tensor:
    """float64 [N], 1 for the last action of a rollout, else 0."""
    last = torch.zeros(len(rollouts.actions), dtype=torch.float64)
    last[rollouts.last[rollouts.last >= 0]] = 1
    return last
