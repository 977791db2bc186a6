"""Train on the rollouts whose advantages differ most: down-sampling by variance (D3S, arXiv 2509.22115).

    S = argmax over S in the pool, |S| = share * |pool|, of Var(A_i, i in S)           n rollouts   N actions

Advantages are computed first, on all rollouts, and stay as they are. The published variants are settings:

    D3S, D1S-Cross (2509.22115)   scope: batch                                  one pool of all groups
    D3S-I, D1S (2509.22115)       scope: group
    PODS (2504.13818)             scope: group, advantages: renormalised        mean and std of the kept alone
    the baseline                  choose: random

The maximum is a prefix plus a suffix of the sorted advantages, found exactly by segments.max_variance_subset.
Inside one group it is the same set for advantages as for rewards, so D1S and PODS choose alike; what the pool
of all groups adds is a comparison between prompts: with `group_relative` it takes rare successes and rare
failures first. With an advantage per token a rollout stands for the mean of its actions' advantages (the
paper has one a rollout). `drop_zero` and `centred` are not in the paper. Not here: tokens (top_tokens.py).
"""

import math
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from oneloop.core import draws, segments
from oneloop.core.part import Options, part
from oneloop.core.rollouts import Rollouts
from oneloop.select.kept_share import Share


def quota(share: float, size: int) -> int:
    """`share` of `size` rollouts, halves rounded up, at least 2 (variance needs two)."""
    return max(2, math.floor(share * size + 0.5))


def select_rollouts(
    value: Tensor, pool: Tensor | None = None, share: float = 0.25, draw: Tensor | None = None
) -> Tensor:
    """bool, of each label in `pool` [n] the `quota` of rollouts whose `value` [n] varies most.

    Values [B, G] without labels: one pool a row. NaN in `value`: no candidate, though it counts in its pool's
    size; a pool with fewer candidates than its quota keeps them all. `draw` (of the values' shape): the
    lowest draws instead of the variance. Ties: the earlier rollout.

    >>> select_rollouts(torch.tensor([[0.1, 0.9, 0.5, 0.4]]), share=0.5).tolist()
    [[True, True, False, False]]
    """
    shape = value.shape
    value, pool = segments.flat(value, pool)
    draw = None if draw is None else draw.reshape(-1)
    kept = torch.zeros_like(value, dtype=torch.bool)
    for label in pool.unique():
        members = (pool == label).nonzero().squeeze(1)
        candidates = members[~value[members].isnan()]
        size = min(quota(share, len(members)), len(candidates))
        if draw is not None:
            kept[candidates[draw[candidates].argsort(stable=True)[:size]]] = True
        elif size:
            kept[candidates[segments.max_variance_subset(value[candidates], size)]] = True
    return kept.view(shape)


def renormalised(reward: Tensor, kept: Tensor, group: Tensor | None = None) -> Tensor:
    """float64, PODS: (reward - mean) / std of the `kept` of each group alone (ddof 1); NaN elsewhere.

    `reward` and bool `kept` [n] with labels `group` [n], or [B, G], one group a row. Exactly 0 where the kept
    rewards of a group are equal. (The authors' code adds 1e-4 to the std.)

    >>> renormalised(torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([[True, True, False]]))
    tensor([[ 0.7071, -0.7071,     nan]], dtype=torch.float64)
    """
    values, by = segments.flat(torch.where(kept, reward.double(), torch.nan), group)
    return segments.standardise(values, by).view(reward.shape)


def _reads(subset: "Subset") -> tuple[str, ...]:
    more = ("reward",) if subset.advantages == "renormalised" else ()
    return ("actions.advantage", "actions.share", *more)


def _writes(subset: "Subset") -> tuple[str, ...]:
    return ("actions.share", *(() if subset.advantages == "original" else ("actions.advantage",)))


@part(reads=_reads, writes=_writes, paper="arXiv 2509.22115")
class Subset:
    """Share 0 for the rollouts outside the subset; `facts["select_metrics"]` says what was kept."""

    scope: Literal["batch", "group"] = "batch"
    """Whether rollouts are chosen among all of the batch, or within each group (prompt)."""
    share: Annotated[Share, Options(Share)] = Share(start=0.25, end=1.0)
    """Share of the rollouts that is kept; N of G a prompt is N / G."""
    choose: Literal["variance", "random"] = "variance"
    """variance: the rollouts of largest advantage variance; random: a random choice, as a baseline."""
    drop_zero: bool = False
    """Whether a rollout whose advantages are all 0 is always left out."""
    advantages: Literal["original", "centred", "renormalised"] = "original"
    """Advantages of kept rollouts: unchanged, centred on their mean, or computed again from the kept rewards
    of each group (PODS)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.advantages == "renormalised" and self.scope == "batch":
            raise ValueError(
                "advantages='renormalised' compares the kept rollouts of one prompt, so it needs "
                f"scope='group', got scope={self.scope!r}; 'original' and 'centred' go with both"
            )
        return self

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares; an action stays while one kept rollout goes through it.

        Where no advantage differs from 0, or none is known, nothing is kept and the update changes nothing.
        Raises ValueError naming the rollouts with an infinite advantage.
        """
        value, teaches = rollout_value(rollouts)
        candidate = teaches if self.drop_zero else teaches.any() & ~value.isnan()
        pool = rollouts.group if self.scope == "group" else torch.zeros_like(rollouts.group)
        draw = _draw(rollouts) if self.choose == "random" else None
        share = self.share.at(rollouts.facts)
        kept = select_rollouts(torch.where(candidate, value, torch.nan), pool, share, draw)
        rollouts = rollouts.put_facts(select_metrics=_measured(rollouts, value, teaches, kept, share))
        through = rollouts.spread(kept.double()) > 0
        made = rollouts.put_actions(share=rollouts.actions.share * through)
        if self.advantages == "original" or not bool(kept.any()):
            return made
        advantage = rollouts.actions.advantage.double()
        if self.advantages == "centred":
            changed = advantage - value[kept].mean()
        else:
            again = renormalised(rollouts.reward, kept & ~rollouts.reward.isnan(), rollouts.group)
            known = (~again.isnan()).double()
            changed = rollouts.spread(again.nan_to_num(0.0)) / rollouts.spread(known)
        return made.put_actions(advantage=torch.where(through, changed, advantage).float())


def rollout_value(rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """(float64 [n] mean advantage, bool [n] whether one differs from 0) of each rollout's kept actions.

    An action without a verdict (NaN) or left out does not count; without any action that does, NaN and False.
    """
    advantage = rollouts.actions.advantage.double()
    bad = rollouts.gather(advantage.isinf().double(), "sum") > 0
    if bool(bad.any()):
        raise ValueError(
            "subset: advantages must be finite or NaN (no verdict); infinite in rollouts "
            f"{rollouts.id[bad].tolist()[:8]}"
        )
    counted = (rollouts.actions.share > 0) & ~advantage.isnan()
    value = torch.where(counted, advantage, 0.0)
    size = rollouts.gather(counted.double(), "sum")
    return rollouts.gather(value, "sum") / size, rollouts.gather(value.abs(), "sum") > 0


def _draw(rollouts: Rollouts) -> Tensor:
    """float64 [n] in [0, 1), a function of (seed, step, rollout id)."""
    facts = rollouts.facts
    keys = draws.mix(facts["seed"], facts["step"], "subset", rollouts.id.numpy())
    return torch.from_numpy(draws.uniforms(keys, 0))


def _measured(
    rollouts: Rollouts, value: Tensor, teaches: Tensor, kept: Tensor, share: float
) -> dict[str, Any]:
    """Metrics of this selection, added to those of the parts before."""
    numbers = {"select/rollouts": int(kept.sum()), "select/rollout_share": share}
    numbers["select/empty"] = float(not bool(kept.any()))
    if bool(kept.any()):
        numbers["select/usefulness"] = float(teaches[kept].double().mean())
        numbers["select/advantage_mean"] = float(value[kept].mean())
        numbers["select/advantage_variance"] = float(value[kept].var(unbiased=False))
    return {**rollouts.facts.get("select_metrics", {}), **numbers}
