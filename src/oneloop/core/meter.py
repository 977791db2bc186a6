"""Counts how often a network was evaluated, and what that is in floating-point operations.

    W weights that every token is multiplied by   T of them trained

An evaluation is one token of a language model, or one latent of a flow network (which is `tokens` tokens
wide). A weight costs 2 operations a token going forward, 2 more where the gradient passes through it, and 2
more where it is trained itself (Kaplan et al., arXiv 2001.08361, section 2.1):

    without a gradient   2 W                with one   4 W + 2 T      so 6 W where all weights are trained

Attention scores, norms and the recomputation of logits are left out, as there. Padding is not counted.
"""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Meter:
    """Evaluations of one network so far."""

    tokens: int = 1
    """Tokens of an evaluation."""
    plain: float = 0
    """Evaluations without a gradient; one of a part of the network counts as that share of one."""
    learned: float = 0
    """Evaluations with one."""

    def add(self, evaluations: float) -> None:
        """Counts evaluations about to be made, as torch is set now."""
        if torch.is_grad_enabled():
            self.learned += evaluations
        else:
            self.plain += evaluations

    @property
    def total(self) -> float:
        """All evaluations."""
        return self.plain + self.learned

    def flops(self, model: nn.Module) -> float:
        """Floating-point operations of all evaluations of `model`, as the head of this file counts them."""
        every, trained = multiplied(model)
        return self.tokens * (2 * every * self.plain + (4 * every + 2 * trained) * self.learned)


FINEST = 2**-20
"""What a share of a network is rounded to, so that sums of them are exact in whatever order they are made."""


class PartMeter(Meter):
    """Counts evaluations of a part of a network, which takes `share` of its operations, in the meter
    `whole`."""

    def __init__(self, whole: Meter, share: float):
        super().__init__(whole.tokens)
        self.whole, self.share = whole, round(share / FINEST) * FINEST

    def add(self, evaluations: float) -> None:
        """Counts evaluations about to be made, as torch is set now."""
        self.whole.add(evaluations * self.share)


def multiplied(model: nn.Module) -> tuple[int, int]:
    """(W, T): weights that a token is multiplied by, and those of them that are trained.

    They are those of matrices and kernels; a table that is only looked up (an embedding that is not the head
    too) is not among them.
    """
    modules = list(model.modules())
    tables = {id(module.weight) for module in modules if isinstance(module, nn.Embedding)}
    heads = {id(module.weight) for module in modules if isinstance(module, nn.Linear)}
    used = [w for w in model.parameters() if w.ndim > 1 and (id(w) not in tables or id(w) in heads)]
    return sum(w.numel() for w in used), sum(w.numel() for w in used if w.requires_grad)
