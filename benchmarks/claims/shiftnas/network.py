"""The supernet of the claim: a residual MLP whose blocks have elastic hidden widths, on flat tensors.

    x = W_in image + b_in
    x += W2[:h] relu(W1[:h] x + b1[:h]) + b2     for each block with h > 0
    logits = W x + b

It is `module` of this file in fewer operations: gradients are written out and all weights lie in one tensor,
so that a step takes a fraction of a millisecond. `tests/claims/test_shiftnas.py` compares the two.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oneloop.models.seeded import seeded
from oneloop.models.supernet import Choice, ElasticLinear, ElasticResidual, Kept, SearchSpace

INPUTS, EMBED, BLOCKS, CLASSES = 64, 24, 8, 10
BATCH = 64
HIDDEN = (0, 4, 8, 12, 16, 24, 32, 48)
"""Hidden widths of a block; 0: the block is left out."""
CONSTANT = INPUTS * EMBED + EMBED * CLASSES


def search_space() -> SearchSpace:
    """8^8 architectures, costs in multiply-adds for one image."""
    cost = tuple(2 * EMBED * hidden for hidden in HIDDEN)
    return SearchSpace(
        *(Choice(f"hidden.{block}", HIDDEN, cost) for block in range(BLOCKS)), constant=CONSTANT
    )


def module(seed: int) -> nn.Sequential:
    """The supernet of elastic modules with its initial weights."""

    def block(index: int) -> nn.Module:
        kept = Kept(f"hidden.{index}")
        body = nn.Sequential(
            ElasticLinear(EMBED, HIDDEN[-1], outputs=kept),
            nn.ReLU(),
            ElasticLinear(HIDDEN[-1], EMBED, inputs=kept),
        )
        return ElasticResidual(body, kept.choice, HIDDEN[-1])

    with seeded(seed):
        blocks = [block(index) for index in range(BLOCKS)]
        return nn.Sequential(nn.Linear(INPUTS, EMBED), *blocks, nn.Linear(EMBED, CLASSES))


class FlatSupernet:
    """Weights, gradients and Adam of the network, each one flat tensor; `widths` [8] is an architecture."""

    def __init__(self, seed: int):
        shapes = [(EMBED, INPUTS), (EMBED,)]
        shapes += [(HIDDEN[-1], EMBED), (HIDDEN[-1],), (HIDDEN[-1], EMBED), (EMBED,)] * BLOCKS
        shapes += [(CLASSES, EMBED), (CLASSES,)]
        size = sum(torch.Size(shape).numel() for shape in shapes)
        self.weights, self.gradient, self.first, self.second = torch.zeros(4, size)
        self.steps = 0
        sizes = [torch.Size(shape).numel() for shape in shapes]
        self.parts, self.slopes = (
            [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
            for flat in (self.weights, self.gradient)
        )
        for index, weight in enumerate(module(seed).parameters()):
            # the second layer of a block lies transposed, so that its first h inputs are h whole rows
            second = index > 1 and index < 2 + 4 * BLOCKS and index % 4 == 0
            self.parts[index].copy_(weight.detach().T if second else weight.detach())

        self.ones = torch.ones(BATCH)
        self.views = {
            (block, hidden): self._views(block, hidden) for block in range(BLOCKS) for hidden in HIDDEN[1:]
        }

    def _views(self, block: int, hidden: int) -> tuple[Tensor, ...]:
        """The weights of a block that `hidden` units use, ready for products, and their gradients."""
        at = slice(2 + 4 * block, 6 + 4 * block)
        (first, bias, second, shift), slopes = self.parts[at], self.slopes[at]
        return (
            *(first[:hidden].T, bias[:hidden], second[:hidden], shift),
            *(first[:hidden], second[:hidden].T),
            *(slopes[0][:hidden], slopes[1][:hidden], slopes[2][:hidden], slopes[3]),
        )

    def logits(self, images: Tensor, widths: Sequence[int]) -> Tensor:
        """[B, 10] of images [B, 64]."""
        return self._forward(images, widths)[0]

    def _forward(self, images: Tensor, widths: Sequence[int]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Logits, and (input, hidden activations) of each block in use, then of the end."""
        parts, seen = self.parts, []
        stream = torch.addmm(parts[1], images, parts[0].T)
        for block, hidden in enumerate(widths):
            if hidden:
                first, bias, second, shift = self.views[block, hidden][:4]
                active = torch.addmm(bias, stream, first).relu_()
                seen.append((stream, active))
                stream = torch.addmm(stream, active, second).add_(shift)
        seen.append((stream, stream))
        return torch.addmm(parts[-1], stream, parts[-2].T), seen

    def accumulate(self, images: Tensor, targets: Tensor, widths: Sequence[int]) -> Tensor:
        """Adds the gradient of the mean cross-entropy with `targets` [64, 10]; returns softmax(logits)."""
        slopes, ones = self.slopes, self.ones
        logits, seen = self._forward(images, widths)
        found = logits.softmax(1)
        slope = (found - targets).div_(len(images))
        slopes[-2].addmm_(slope.T, seen[-1][0])
        slopes[-1].addmv_(slope.T, ones)
        slope = slope @ self.parts[-2]
        used = [(block, hidden) for block, hidden in enumerate(widths) if hidden]
        for which, (stream, active) in zip(reversed(used), reversed(seen[:-1]), strict=True):
            first, second, *grown = self.views[which][4:]
            grown[2].addmm_(active.T, slope)
            grown[3].addmv_(slope.T, ones)
            inner = torch.ops.aten.threshold_backward(slope @ second, active, 0)
            turned = inner.T
            grown[0].addmm_(turned, stream)
            grown[1].addmv_(turned, ones)
            slope = torch.addmm(slope, inner, first)
        slopes[0].addmm_(slope.T, images)
        slopes[1].addmv_(slope.T, ones)
        return found

    def step(self, rate: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        """One step of Adam along what was accumulated, which is forgotten."""
        self.steps += 1
        self.first.lerp_(self.gradient, 1 - betas[0])
        self.second.mul_(betas[1]).addcmul_(self.gradient, self.gradient, value=1 - betas[1])
        size = self.second.div(1 - betas[1] ** self.steps).sqrt_().add_(eps)
        self.weights.addcdiv_(self.first, size, value=-rate / (1 - betas[0] ** self.steps))
        self.gradient.zero_()
