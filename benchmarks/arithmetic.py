"""How a run computes, for comparisons of runs that differ in the order of their sums alone.

adamw     as runs compute: AdamW in fp32
double    weights, activations, sums and moments in fp64
sgd       plain gradient descent in fp32, whose steps are as far apart as the gradients are
fine      AdamW in fp32 at learning rates of a fine-tune, which the recipe has
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.placement import WholePrecision
from oneloop.update import stepper

Does = Callable[[], object]
TIMES = 10.0
"""Learning rate of gradient descent over AdamW's."""


class Descent(torch.optim.SGD):
    """Plain gradient descent with the arguments of AdamW."""

    def __init__(self, groups: Any, *, lr: float, betas: Any, fused: bool):
        super().__init__(groups, lr=TIMES * lr, foreach=False)


def double(does: Does) -> Does:
    """`does` with all that is fp32 in fp64."""

    def doubled() -> object:
        torch.set_default_dtype(torch.float64)
        stepper.master_copies = lambda weights: weights  # fp64 weights need no copies of more precision
        with WholePrecision():
            return does()

    return doubled


def sgd(does: Does) -> Does:
    """`does` with gradient descent instead of AdamW."""

    def descended() -> object:
        stepper.torch.optim.AdamW = Descent  # type: ignore[misc,assignment,attr-defined]
        return does()

    return descended


KINDS: dict[str, Callable[[Does], Does]] = {
    "adamw": lambda does: does,
    "double": double,
    "sgd": sgd,
    "fine": lambda does: does,
}
"""What makes a run compute so; for processes that do nothing else afterwards."""
