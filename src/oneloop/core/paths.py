"""Where rollouts run through the action table: paths up from the last action, first owners, depths.

    n rollouts   N actions   M path entries; `last` [n] and `parent` [N] are all there is to it

A language rollout is a chain, and a table of chains laid end to end needs no walking: that case is
recognised once and answered by counting. Anything else (branching trees, shared prefixes) is walked
up from the leaves, all rollouts at a time.
"""

from functools import cached_property

import torch
from torch import Tensor


class Paths:
    """Lazy answers about (`last` int64 [n], `parent` int64 [N]).

    Raises ValueError when a parent does not come before its child or `last` is outside the table.
    """

    def __init__(self, last: Tensor, parent: Tensor):
        count = len(parent)
        if bool((parent >= torch.arange(count)).any()) or bool((parent < -1).any()):
            raise ValueError("every action's parent must be earlier in the table, or -1 at the start")
        if bool((last >= count).any()) or bool((last < -1).any()):
            raise ValueError(f"'last' must be -1 or an action below {count}, got {last.tolist()[:8]}")
        self.last, self.parent = last, parent

    @cached_property
    def is_chain(self) -> bool:
        """Whether the table is one contiguous chain of actions per acting rollout, in row order."""
        starts = (self.parent == -1).nonzero().squeeze(1)
        ends = self.last[self.last >= 0]
        follows = (self.parent == -1) | (self.parent == torch.arange(len(self.parent)) - 1)
        if len(starts) != len(ends) or not bool(follows.all()):
            return False
        return bool((ends[:-1] + 1 == starts[1:]).all()) and bool((ends[-1:] + 1 == len(self.parent)).all())

    @cached_property
    def length(self) -> Tensor:
        """int64 [n], actions of each rollout."""
        depth = torch.cat([self.depth, torch.tensor([-1])])  # index -1: no action, so length 0
        return depth[self.last] + 1

    @cached_property
    def depth(self) -> Tensor:
        """int64 [N], actions before each action; pointer doubling, so log2(deepest) passes."""
        if self.is_chain:
            start = self.parent == -1
            positions = torch.arange(len(self.parent))
            return (
                positions - torch.cummax(torch.where(start, positions, 0), 0).values
                if len(start)
                else positions
            )
        depth = (self.parent >= 0).long()
        up = self.parent.clone()
        while bool((up >= 0).any()):
            has = up >= 0
            depth[has] += depth[up[has]].clone()
            up[has] = up[up[has]]
        return depth

    @cached_property
    def _entries(self) -> tuple[Tensor, Tensor]:
        if self.is_chain:
            acting = (self.last >= 0).nonzero().squeeze(1)
            return acting.repeat_interleave(self.length[acting]), torch.arange(len(self.parent))
        rows, actions = [], []
        row, at = torch.arange(len(self.last))[self.last >= 0], self.last[self.last >= 0]
        while len(at):
            rows.append(row)
            actions.append(at)
            up = self.parent[at]
            row, at = row[up >= 0], up[up >= 0]
        if not rows:
            return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
        row, action = torch.cat(rows), torch.cat(actions)
        order = torch.argsort(row * (len(self.parent) + 1) + action)
        return row[order], action[order]

    @property
    def row(self) -> Tensor:
        """int64 [M], the rollout of each path entry."""
        return self._entries[0]

    @property
    def action(self) -> Tensor:
        """int64 [M], the action of each path entry; a rollout's entries run from its first to its last."""
        return self._entries[1]

    @cached_property
    def owner(self) -> Tensor:
        """int64 [N], first rollout through each action (n where none passes)."""
        if self.is_chain:
            return self.row
        owner = torch.full((len(self.parent),), len(self.last))
        return owner.scatter_reduce(0, self.action, self.row, "amin")

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(old actions [K], new last [k], new parent [K]) of the table that holds `rows` [k] alone."""
        if self.is_chain and len(rows.unique()) == len(rows):
            return self._take_chains(rows)
        flags = torch.zeros(len(self.last), dtype=torch.long).index_add_(0, rows, torch.ones_like(rows)) > 0
        used = torch.zeros(len(self.parent) + 1, dtype=torch.bool)
        used[self.action[flags[self.row]]] = True
        new = torch.cumsum(used, 0) - 1
        new[-1] = -1  # index -1: no action
        actions = used[:-1].nonzero().squeeze(1)
        return actions, new[self.last[rows]], new[self.parent[actions]]

    def _take_chains(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lengths = self.length[rows]
        ends = torch.cumsum(lengths, 0)
        within = torch.arange(int(lengths.sum())) - (ends - lengths).repeat_interleave(lengths)
        actions = (self.last[rows] - lengths + 1).repeat_interleave(lengths) + within
        parent = torch.where(within == 0, -1, torch.arange(len(actions)) - 1)
        return actions, torch.where(lengths > 0, ends - 1, -1), parent
