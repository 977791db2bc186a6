"""Vector quantisation on the unit sphere (ViT-VQGAN's l2 mode, as in TiTok and One-D-Piece).

zh = z / |z|      Ch = C / |C|      q = argmin_c |zh - Ch_c|^2 = argmax_c zh . Ch_c
loss = mean (Ch_q - sg zh)^2 + 0.25 mean (sg Ch_q - zh)^2 = 1.25 (2 - 2 cos) / d
out = zh + sg (Ch_q - zh)

b images   N tokens   d numbers of a code   K codes
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COMMITMENT = 0.25


class Quantized(NamedTuple):
    """Vectors after rounding."""

    codes: Tensor
    """[b, N, d] of unit length, with the gradient of the vectors before rounding."""
    indices: Tensor
    """int64 [b, N]."""
    loss: Tensor
    """[b], mean over an image's tokens and dimensions of codebook loss + 0.25 commitment loss."""


class VectorQuantizer(nn.Module):
    """A codebook of K codes of d numbers, learned by gradients of the loss; always in fp32."""

    # vector-quantize-pytorch moves a codebook of unit vectors by an average inside `forward`, not by
    # gradients: micro-batches and a pass that is tried again would then change the result. Its nearest codes
    # are what the test compares these with.

    def __init__(self, codebook_size: int, dims: int):
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, dims)
        nn.init.uniform_(self.embedding.weight, -1 / codebook_size, 1 / codebook_size)

    @property
    def codebook(self) -> Tensor:
        """[K, d], of unit length, differentiable."""
        return F.normalize(self.embedding.weight.float(), dim=-1)

    def forward(self, vectors: Tensor) -> Quantized:
        """Rounds `vectors` [b, N, d]. Of codes equally near, the first is taken."""
        with torch.autocast(vectors.device.type, enabled=False):
            unit, codebook = F.normalize(vectors.float(), dim=-1), self.codebook
            with torch.no_grad():
                distance = unit.square().sum(-1, keepdim=True) + codebook.square().sum(-1)
                indices = (distance - 2 * unit @ codebook.T).argmin(-1)
            codes = codebook[indices]
            learned = (codes - unit.detach()).square().flatten(1).mean(1)
            commitment = (codes.detach() - unit).square().flatten(1).mean(1)
            through = unit + (codes - unit).detach()
            return Quantized(through, indices, learned + COMMITMENT * commitment)

    def lookup(self, indices: Tensor) -> Tensor:
        """[..., d], codes of unit length."""
        return self.codebook[indices]

    @torch.no_grad()
    def revive(self, used: Tensor, vectors: Tensor, order: Tensor) -> int:
        """Moves codes that nobody used onto vectors of images; returns how many were moved.

        `used` [K], how often each code was taken; `vectors` [v, d]; `order` int64 [v], a shuffled order of
        them: each unused code takes one, as long as there are any. Call it after the optimiser's step.
        """
        dead = (used == 0).nonzero().squeeze(1)[: len(order)]
        chosen = F.normalize(vectors[order[: len(dead)]].float(), dim=-1)
        self.embedding.weight[dead] = chosen.to(self.embedding.weight)
        return len(dead)


def perplexity(indices: Tensor, codebook_size: int) -> float:
    """exp of the entropy of how often each code is used: `codebook_size` when all are, 1 when one is.

    >>> perplexity(torch.tensor([0, 0, 1, 1]), 8)
    2.0
    """
    share = indices.flatten().bincount(minlength=codebook_size).double() / indices.numel()
    return float(torch.special.entr(share).sum().exp())
