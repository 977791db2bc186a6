"""Supervised contrastive loss: embeddings of one writer together, of different writers apart.

    L_i = - 1/|P(i)| sum over p in P(i) of log( exp(z_i z_p / T) / sum over a != i of exp(z_i z_a / T) )

with P(i) the others of i's writer. One-DM's LaplacianNCE (arXiv 2409.04004) is this with T = 0.07; the first
form is SupCon's, with the sum outside the logarithm (2004.11362).
"""

import torch
from torch import Tensor


def sup_con(embeddings: Tensor, writers: Tensor, temperature: float = 0.07) -> Tensor:
    """[b], the loss of each of b writers' samples: the mean over its V views, embeddings [b, V, p] of length
    1. Samples of one number in `writers` (int64 [b]) are of one writer.

    >>> round(float(sup_con(torch.ones(2, 2, 1), torch.tensor([0, 1])).mean()), 6)  # log 3
    1.098612
    """
    count, views = embeddings.shape[:2]
    flat, writer = embeddings.flatten(0, 1), writers.repeat_interleave(views)
    alike = flat @ flat.T / temperature
    itself = torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    logs = alike - alike.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (writer[:, None] == writer[None]) & ~itself
    loss = -torch.where(positive, logs, 0.0).sum(1) / positive.sum(1).clamp(min=1)
    return loss.view(count, views).mean(1)
