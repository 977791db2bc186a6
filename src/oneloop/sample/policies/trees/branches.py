"""Which rollouts share which steps, and the noise of a denoising step as a function of its name.

    n rollouts   E edges of one step (an action each)   D dimensions of a latent

Rollouts of one tree start from one latent and part at the steps of their fork: leaf number `branch` of a tree
goes, at step i, over edge branch // factor^(forks after i). Without a fork a rollout is a tree of its own.
Siblings' noise at a fork is correlated (BranchGRPO, arXiv 2509.06040, section 3.2) and each is standard
normal:

    xi_b = sqrt(correlation) xi_0 + sqrt(1 - correlation) eta_b     the paper's s: correlation = 1 / (1 + s^2)

Noise is a function of (seed, id of the first rollout through the edge, step), so that a fork at step 0 with
correlation 0 draws what rollouts without a fork draw.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from oneloop.core import draws, segments
from oneloop.core.rollouts import Rollouts

Fork = tuple[tuple[int, ...], int, float]
"""(steps, factor, correlation)."""
ALONE: Fork = ((), 1, 0.0)


@dataclass(frozen=True)
class Level:
    """The edges of one step, in order of their first rollout."""

    edge: Tensor
    """int64 [n], the edge each rollout takes."""
    first: Tensor
    """int64 [E], the first rollout over each edge."""


class Branches:
    """The trees of asked rollouts."""

    def __init__(self, rollouts: Rollouts):
        count = len(rollouts)
        forks: list[Fork] = rollouts["fork"] if "fork" in rollouts else [ALONE] * count
        self.forks = forks
        self.branch = rollouts["branch"] if "branch" in rollouts else torch.zeros(count, dtype=torch.long)
        self.origin = origins(rollouts)
        self.seed, self.id = int(rollouts.facts["seed"]), rollouts.id.numpy()

    def level(self, step: int) -> Level:
        """The edges of `step`; those of step -1 are the trees themselves."""
        after = [factor ** sum(at > step for at in steps) for steps, factor, _ in self.forks]
        edge = segments.labels(self.origin, self.branch // torch.tensor(after, dtype=torch.long))
        return Level(edge, distinct(edge)[1])

    def noise(self, step: int, first: Tensor, parent: Tensor, width: int) -> Tensor:
        """float32 [E, width]: the noise of edges at `step`; the first rollouts over them and over their
        parents."""
        own = self._normals("noise", step, first, width)
        correlation = torch.tensor([self._correlation(row, step) for row in first.tolist()])
        if not bool((correlation > 0).any()):
            return own
        shared = self._normals("shared", step, parent, width)
        weight = correlation[:, None]
        return weight.sqrt() * shared + (1 - weight).sqrt() * own

    def start(self, width: int) -> Tensor:
        """float32 [n, width], the latent each rollout starts from: one for each tree."""
        which, first = distinct(self.origin)
        return self._normals("start", -1, first, width)[which]

    def _correlation(self, row: int, step: int) -> float:
        steps, _, correlation = self.forks[row]
        return correlation if step in steps else 0.0

    def _normals(self, name: str, step: int, rows: Tensor, width: int) -> Tensor:
        keys = draws.mix(self.seed, name, self.id[rows.numpy()], step)
        uniform = draws.uniforms(keys[:, None], np.arange(width)[None, :]) + 2.0**-54  # never 0
        return torch.from_numpy(ndtri(uniform)).float()


def origins(rollouts: Rollouts) -> Tensor:
    """int64 [n], the first row of each rollout's tree; itself where there are no trees."""
    rows = torch.arange(len(rollouts))
    if "tree" not in rollouts:
        return rows
    which, first = distinct(rollouts["tree"])
    return first[which]


def distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """(which [v] of the k distinct `values` [v], in ascending order, each is; the first place [k] of
    each)."""
    which = segments.labels(values)
    first = torch.full((int(which.max()) + 1 if len(which) else 0,), len(which))
    return which, first.scatter_reduce_(0, which, torch.arange(len(which)), "amin")
