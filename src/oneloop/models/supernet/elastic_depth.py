"""Depth that is chosen: the first blocks of a stack, and residual branches that can be left out."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from oneloop.models.supernet.cutting import Cutter
from oneloop.models.supernet.elastic import Elastic, Kept


class ElasticDepth(nn.ModuleList, Elastic):
    """Runs the first blocks; each maps what it gets to something of the same shape."""

    def __init__(self, blocks: list[nn.Module], depth: str):
        """`depth`: name of the choice of the number of blocks."""
        super().__init__(blocks)
        self.depth = Kept(depth)

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """The number of blocks."""
        yield self.depth, len(self)

    def kept(self) -> list[nn.Module]:
        """The blocks in use."""
        return list(self)[: self.size(self.depth, len(self))]

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden` after the blocks in use."""
        mask = self.mask_of(self.depth)
        for index, block in enumerate(self.kept()):
            after = block(hidden)
            # lerp is exact at 0 and at 1
            hidden = after if mask is None else torch.lerp(hidden, after, mask[index].to(after.dtype))
        return hidden

    def cut(self, cutter: Cutter) -> nn.Sequential:
        """An `nn.Sequential` of the blocks in use, by their names."""
        return nn.Sequential(*(cutter.module(block) for block in self.kept()))


class ElasticResidual(nn.Module, Elastic):
    """x + body(x), or x alone where `choice` is 0, biases of the body included."""

    def __init__(self, body: nn.Module, choice: str, most: int):
        """`body` follows `choice` itself, `most` is its largest value."""
        super().__init__()
        self.body, self.choice, self.most = body, Kept(choice), most

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """The choice that may be 0."""
        yield self.choice, self.most

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden` and the branch, of the same shape."""
        if self.size(self.choice, self.most) == 0:
            return hidden
        branch = cast(Tensor, self.body(hidden))
        mask = self.mask_of(self.choice)
        return hidden + (branch if mask is None else branch * mask[0].to(branch.dtype))

    def cut(self, cutter: Cutter) -> nn.Module:
        """The branch with its skip, or an identity."""
        if self.size(self.choice, self.most) == 0:
            return nn.Identity()
        return Residual(cutter.module(self.body))


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden` and the branch, of the same shape."""
        return hidden + cast(Tensor, self.body(hidden))
