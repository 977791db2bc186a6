"""Regular trees for tests, without a policy; and small flow policies, asked for rollouts."""

from typing import Any

import torch

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.rooms import build
from oneloop.run.evaluation import held_out
from oneloop.sample.plan.dress.fork import Fork

PROMPTS = ["a", "b", "c", "d"]


def tree(steps: int, splits: tuple[int, ...], factor: int, trees: int = 1, seed: int = 0) -> Rollouts:
    """`trees` regular trees of `steps` actions a leaf, laid out level by level, filled with random
    numbers."""
    draw = torch.Generator().manual_seed(seed)
    leaves = factor ** len(splits)
    tree_of, branch = torch.arange(trees).repeat_interleave(leaves), torch.arange(leaves).repeat(trees)
    last, parents, made = torch.full((trees * leaves,), -1), [], 0
    for step in range(steps):
        label = tree_of * leaves + branch // factor ** sum(at > step for at in splits)
        _, edge = label.unique(return_inverse=True)
        first = torch.full((int(edge.max()) + 1,), len(edge)).scatter_reduce(
            0, edge, torch.arange(len(edge)), "amin"
        )
        parents.append(last[first])
        last, made = made + edge, made + len(first)
    count = made
    actions = Actions(
        {
            "parent": torch.cat(parents),
            "version": torch.zeros(count, dtype=torch.long),
            "logprob": torch.randn(count, generator=draw),
            "share": torch.ones(count),
        }
    )
    columns = {
        "id": torch.arange(len(last)),
        "group": tree_of,
        "tree": tree_of * leaves,
        "branch": branch,
        "last": last,
        "status": ["stop"] * len(last),
        "reward": torch.randn(len(last), generator=draw, dtype=torch.float64),
    }
    return Rollouts(columns, actions, {"seed": seed, "step": 0, "progress": 0.0})


def policy(**options: Any) -> Any:
    """A flow policy on images of 2x2 pixels."""
    model = {"flow_mlp": {"image_size": 2, "hidden_size": 16, "layers": 2}}
    return build("policy", {"flow": {"model": model, "steps": 8, **options}}).open()


def asked(samples: int, prompts: int = 2, seed: int = 3, fork: Fork | None = None) -> Rollouts:
    """Requests for `samples` rollouts of each of the first prompts, dressed with `fork`."""
    rows = build("data", {"rows": {"rows": [{"prompt": prompt} for prompt in PROMPTS]}})
    fresh = held_out(rows, prompts, samples, seed)
    return fork(fresh) if fork else fresh


def rewarded(rollouts: Rollouts, seed: int = 0) -> Rollouts:
    """`rollouts` with random rewards and advantages."""
    draw = torch.Generator().manual_seed(seed)
    scored = rollouts.put(reward=torch.randn(len(rollouts), generator=draw, dtype=torch.float64))
    return scored.put_actions(advantage=torch.randn(len(rollouts.actions), generator=draw))
