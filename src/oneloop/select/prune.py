"""Learn from part of a tree: the better of siblings, the extremes, or some depths (BranchGRPO, section 3.4).

Rewards, credit and what was sampled stay as they are (arXiv 2509.06040); actions leave the loss alone. A
leaf's own actions are those after the last fork of its path: they leave when the leaf is not chosen, while
the outcome of the fork itself, and all that leaves share, stays.

    parent_top1   of the leaves that part at their last fork, the one with the highest reward
    extreme       the b best and the b worst leaves of the tree
    steps         these steps (paper: depth = step + 1) of all rollouts, moving by one step every `every`
    batches

The released code's width mode 1 is not Parent-Top1: it keeps the first half of every leaf's actions (`steps`
does that); its mode 2 is `extreme` with b = 4. It slides the depths earlier; notes on the paper say later.
Both are here.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.paths import Paths
from oneloop.core.rollouts import Rollouts


def own_actions(last: Tensor, parent: Tensor) -> tuple[Tensor, Tensor]:
    """(bool [N]: after the last fork of its path, int64 [n]: the action before that fork's outcome, -1 the
    start), of int64 `last` [n], each leaf's last action, and `parent` [N], the action before each.

    >>> own, before = own_actions(torch.tensor([3, 4]), torch.tensor([-1, 0, 0, 1, 2]))
    >>> own.tolist(), before.tolist()
    ([False, False, False, True, True], [0, 0])
    """
    paths, rows = Paths(last, parent), len(last)
    row, action, depth = paths.row, paths.action, paths.depth
    alone = torch.bincount(action, minlength=len(parent)) == 1
    first = torch.full_like(last, len(parent))
    first.scatter_reduce_(0, row[alone[action]], depth[action[alone[action]]], "amin")
    outcome = alone & (depth == first[paths.owner.clamp(max=rows - 1)])
    before = torch.full_like(last, -1)
    before[paths.owner[outcome]] = parent[outcome]
    return alone & ~outcome, before


def parent_top1(reward: Tensor, parent: Tensor) -> Tensor:
    """bool [n], the rollout of highest `reward` [n] among those with one `parent` [n]; the first of equals,
    NaN last.

    >>> parent_top1(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([7, 7, 8])).tolist()
    [False, True, True]
    """
    order = torch.argsort(reward.nan_to_num(-torch.inf), descending=True, stable=True)
    seen = segments.labels(parent)[order]
    place = torch.full_like(seen, len(seen))[: int(seen.max()) + 1 if len(seen) else 0]
    place.scatter_reduce_(0, seen, torch.arange(len(seen), device=seen.device), "amin")
    return torch.zeros_like(reward, dtype=torch.bool).index_fill_(0, order[place], True)


def extreme(reward: Tensor, tree: Tensor | None = None, count: int = 4) -> Tensor:
    """bool, the `count` highest and lowest rewards of each tree; those without a verdict are neither.

    `reward` [n] with labels `tree` [n], or [B, G], one tree a row.

    >>> extreme(torch.tensor([[0.1, 0.9, 0.5]]), count=1).tolist()
    [[True, True, False]]
    """
    shape = reward.shape
    reward, tree = segments.flat(reward, tree)
    chosen = torch.zeros_like(reward, dtype=torch.bool)
    for label in tree.unique().tolist():
        rows = ((tree == label) & ~reward.isnan()).nonzero().squeeze(1)
        order = rows[torch.argsort(reward[rows], stable=True)]
        chosen[order[:count]] = chosen[order[max(0, len(order) - count) :]] = True
    return chosen.view(shape)


@part(
    reads=("reward", "tree", "actions.share"),
    writes=("actions.share",),
    paper="arXiv 2509.06040",
)
class Prune:
    """Share 0 for the actions of leaves that are not chosen, and for `steps`."""

    width: Literal["all", "parent_top1", "extreme"] = "parent_top1"
    """Rollouts whose own actions stay: all, the best of each set of siblings, or the extremes of a tree."""
    extremes: Annotated[int, Field(ge=1)] = 4
    """Best leaves of a tree, and as many worst, with width "extreme"."""
    steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Steps that are left out in all rollouts; empty: none."""
    slide: Literal["none", "earlier", "later"] = "none"
    """Direction in which `steps` move during training."""
    every: Annotated[int, Field(ge=1)] = 30
    """Batches between two moves of one step."""
    until: Annotated[int, Field(ge=0)] = 0
    """Step at which moving ends: for the first of `steps` (earlier), or the last of them (later)."""

    def __post_init__(self) -> None:
        if self.slide != "none" and not self.steps:
            raise ValueError(f"slide '{self.slide}' needs steps to move")
        room = self._room()
        if room < 0:
            raise ValueError(
                f"until={self.until} is on the wrong side of steps {list(self.steps)} to slide {self.slide}"
            )

    def _room(self) -> int:
        """How many steps the window may move."""
        if self.slide == "none":
            return 0
        return min(self.steps) - self.until if self.slide == "earlier" else self.until - max(self.steps)

    def active(self, step: int) -> Tensor:
        """int64, the steps that are left out in batch number `step`."""
        moved = min(step // self.every, self._room())
        return torch.tensor(sorted(self.steps), dtype=torch.long) + (
            -moved if self.slide == "earlier" else moved
        )

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises ValueError for steps that no rollout has, and when nothing would be left."""
        if not len(rollouts.actions):
            return rollouts
        left_out, last = self.active(int(rollouts.facts.get("step", 0))), int(rollouts.depth.max())
        if beyond := left_out[left_out > last].tolist():
            raise ValueError(f"select.prune.steps: steps {beyond} do not exist; the last is {last}")
        keep = ~torch.isin(rollouts.depth, left_out)
        if self.width != "all":
            own, before = own_actions(rollouts.last, rollouts.actions.parent)
            keep &= ~own | self._chosen(rollouts, before)[rollouts.owner.clamp(max=len(rollouts) - 1)]
        share = rollouts.actions.share * keep
        if bool((rollouts.actions.share > 0).any()) and not bool((share > 0).any()):
            raise ValueError(
                f"select.prune leaves nothing to learn from: width={self.width}, "
                f"steps={left_out.tolist()} of {last + 1}"
            )
        return rollouts.put_actions(share=share)

    def _chosen(self, rollouts: Rollouts, before: Tensor) -> Tensor:
        tree = segments.labels(rollouts["tree"])
        if self.width == "extreme":
            return extreme(rollouts.reward, tree, self.extremes)
        return parent_top1(rollouts.reward, torch.where(before < 0, -1 - tree, before))
