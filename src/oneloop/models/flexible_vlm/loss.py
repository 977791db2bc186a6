"""Square-averaged loss: an answer of n tokens weighs sqrt(n), between its tokens and itself (InternVL 2.5).

w_i = 1 / sqrt(n_i)        loss = sum_i sum_t w_i CE_it / sum_i sum_t w_i        b samples   L tokens
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


def square_average_loss(logits: Tensor, labels: Tensor, reduction_group: Any = None) -> Tensor:
    """The loss of `logits` [b, L, V] for `labels` [b, L] (-100: none), shifted by one. In fp32.

    Where torch.distributed runs, weights are added up over `reduction_group` (None: all processes) and the
    loss is multiplied by its size, so that gradients averaged over processes are those of one large batch.
    Without any label the loss is 0.
    """
    wanted = labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(wanted)
    kept = wanted != IGNORED
    weight = kept / kept.sum(1, keepdim=True).clamp(min=1).float().sqrt()
    total, scale = weight.sum(), 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total, group=reduction_group)
        scale = torch.distributed.get_world_size(reduction_group)
    return (losses * weight).sum() / total.clamp(min=1e-6) * scale
