"""Rollouts made by hand, for the tests of judges: nothing was sampled, every rollout has one action."""

import torch

from oneloop.core.rollouts import Actions, Rollouts


def rollouts(texts, examples=None, *, status=None, group=None, step=7):
    n = len(texts)
    span = torch.tensor([[0, len(text)] for text in texts]).reshape(-1, 2)
    actions = Actions({"parent": torch.full((n,), -1), "token": torch.arange(n) + 10, "span": span})
    columns = {
        "id": torch.arange(n) + 100,
        "group": torch.tensor(group if group is not None else [i // 2 for i in range(n)], dtype=torch.int64),
        "key": torch.arange(n) + 1000,
        "example": examples
        if examples is not None
        else [{"prompt": f"p{i}", "answer": "1"} for i in range(n)],
        "last": torch.arange(n),
        "status": status or ["stop"] * n,
        "text": texts,
    }
    return Rollouts(columns, actions, {"step": step, "progress": 0.5, "seed": 0})
