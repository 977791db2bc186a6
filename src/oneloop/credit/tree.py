"""Credit on a tree: an action's value is a mean of leaf rewards, compared within its depth (BranchGRPO).

    value(action) = sum over the leaves l below it of w_l r_l,    w = softmax_l(beta * log p(l | action))
    advantage     = (value - mean over the tree's actions of that depth) / std of them, within +-clip

(arXiv 2509.06040, Eqs. 3 and 4.) log p(l | action) is the sum of log-probs from the action down to the leaf,
in the policy's unit: per dimension for images, where beta 1 hardly differs from 0 (siblings differ by some
.003), whole nats for text, where it is close to picking one leaf. Leaves are drawn from the policy, so beta
0, the plain mean, is the unbiased value; beta weighs likely leaves twice. One fork at the start with beta 0
is `group_relative`. The released code weighs children instead of leaves (`fusion: children`). Left out: its
sibling baselines.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.paths import Paths
from oneloop.core.rollouts import Rollouts


def leaf_mean(reward: Tensor, last: Tensor, parent: Tensor) -> Tensor:
    """float64 [N], the mean reward of the judged leaves below each action; NaN where there is none.

    `reward` [n] of the leaves, int64 `last` [n] the last action of each, `parent` [N] the action before each
    action (earlier in the table), -1 at the start.

    >>> leaf_mean(torch.tensor([1.0, 0.0]), torch.tensor([1, 2]), torch.tensor([-1, 0, 0]))
    tensor([0.5000, 1.0000, 0.0000], dtype=torch.float64)
    """
    paths = Paths(last, parent)
    value = reward.double()[paths.row]
    return _softmax_mean(value, torch.zeros_like(value), paths.action, len(parent))


def weighted_by_leaves(reward: Tensor, logprob: Tensor, last: Tensor, parent: Tensor, beta: float) -> Tensor:
    """float64 [N], leaves weighted by softmax(beta * log p(leaf | action)) among the judged ones (Eq. 3).

    `logprob` [N] of the actions; the rest as in `leaf_mean`, which is beta 0.
    """
    paths = Paths(last, parent)
    below = segments.path_total(logprob.double(), parent)
    score = beta * (below[last[paths.row]] - below[paths.action])
    return _softmax_mean(reward.double()[paths.row], score, paths.action, len(parent))


def weighted_by_children(
    reward: Tensor, logprob: Tensor, last: Tensor, parent: Tensor, beta: float
) -> Tensor:
    """float64 [N], values of children weighted by softmax(beta * log p(child)), from the leaves upwards.

    Arguments as in `weighted_by_leaves`.
    """
    depth = Paths(last, parent).depth
    reward, logprob = reward.double(), logprob.double()
    value = reward.new_full((len(parent),), torch.nan)
    ends = last >= 0
    value[last[ends]] = reward[ends]
    for level in range(int(depth.max()) if len(depth) else 0, 0, -1):
        child = ((depth == level) & ~value.isnan()).nonzero().squeeze(1)
        mean = _softmax_mean(value[child], beta * logprob[child], parent[child], len(parent))
        value = torch.where(mean.isnan(), value, mean)
    return value


def _softmax_mean(values: Tensor, score: Tensor, by: Tensor, size: int) -> Tensor:
    """[size], the mean of `values` (NaN left out) with weights softmax(`score`) within each of `by`.

    NaN where there is none."""
    known = ~values.isnan()
    values, score, by = values[known], score[known], by[known]
    top = score.new_full((size,), -torch.inf).scatter_reduce_(0, by, score, "amax")
    weight = (score - top[by]).exp()
    total = weight.new_zeros(size).index_add_(0, by, weight)
    return weight.new_zeros(size).index_add_(0, by, weight * values) / total


def depth_advantages(
    value: Tensor, tree: Tensor, depth: Tensor, *, ddof: Literal[0, 1] = 1, clip: float | None = 5.0
) -> Tensor:
    """float64 [N], (value - mean) / std among the actions of one `tree` [N] and `depth` [N], within +-clip.

    >>> value, tree = torch.tensor([0.5, 1.0, 0.0]), torch.zeros(3, dtype=torch.long)
    >>> depth_advantages(value, tree, depth=torch.tensor([0, 1, 1]))
    tensor([ 0.0000,  0.7071, -0.7071], dtype=torch.float64)
    """
    advantage = segments.standardise(value, segments.labels(tree, depth), ddof)
    return advantage if clip is None else advantage.clamp(-clip, clip)


def _reads(part: "Tree") -> tuple[str, ...]:
    return ("reward", "actions.logprob") if part.beta else ("reward",)


@part(reads=_reads, writes=("actions.advantage",), paper="arXiv 2509.06040")
class Tree:
    """Writes `actions.advantage`, float32 [N]. Without the column `tree`, the rollouts of a group are one
    tree."""

    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of log-probs in the mean over leaves, softmax(beta * log p); 0: the plain mean."""
    fusion: Literal["leaves", "children"] = "leaves"
    """Weighted when beta is not 0: all leaves below an action (the paper), or its children (the code)."""
    clip: Annotated[float, Field(gt=0)] | None = 5.0
    """Advantages are clipped to +-clip; None: not clipped."""
    ddof: Literal[0, 1] = 1
    """1: unbiased std (the released code): two values give +-0.707. 0: population std (+-1)."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises ValueError for an infinite reward, naming rows; NaN is no verdict and counts nowhere."""
        reward = rollouts.reward.double()
        if bool(reward.isinf().any()):
            rows = reward.isinf().nonzero().squeeze(1)[:8].tolist()
            raise ValueError(f"rewards must be finite or NaN (no verdict); infinite at rows {rows}")
        label = rollouts["tree" if "tree" in rollouts else "group"]
        tree = segments.labels(label)[rollouts.owner]
        advantage = depth_advantages(
            self.value(rollouts, reward), tree, rollouts.depth, ddof=self.ddof, clip=self.clip
        )
        return rollouts.put_actions(advantage=advantage.float())

    def value(self, rollouts: Rollouts, reward: Tensor) -> Tensor:
        """float64 [N], the fused reward of each action; NaN where no leaf below has a verdict."""
        last, parent = rollouts.last, rollouts.actions.parent
        if not self.beta:
            return leaf_mean(reward, last, parent)
        fuse = weighted_by_leaves if self.fusion == "leaves" else weighted_by_children
        return fuse(reward, rollouts.actions.logprob, last, parent, self.beta)
