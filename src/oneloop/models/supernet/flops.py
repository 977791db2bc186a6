"""Costs of a search space against what torch counts on the network cut out."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from oneloop.models.supernet.cutting import cut
from oneloop.models.supernet.elastic import Architecture
from oneloop.models.supernet.search_space import SearchSpace

MOST_APART = 0.01
"""Relative difference that is let pass."""


def multiply_adds(network: nn.Module, *inputs: Any) -> int:
    """Multiply-adds of a forward at `inputs`, by torch's counter, which counts each as two operations."""
    counter = FlopCounterMode(display=False)
    training = network.training
    # other kernels of attention are not counted on a CPU
    with sdpa_kernel(SDPBackend.MATH), counter, torch.no_grad():
        network.eval()(*inputs)
    network.train(training)
    return counter.get_total_flops() // 2


def check_costs(
    model: nn.Module, space: SearchSpace, architectures: Iterable[Architecture], *inputs: Any
) -> None:
    """Compares `space`'s cost of each of `architectures` with the network that `model` is cut to.

    `inputs` are one example, as costs are per example. Raises ValueError where they are 1 % apart.
    """
    for architecture in architectures:
        stated, counted = (
            space.cost(architecture),
            multiply_adds(cut(model, architecture, copies=False), *inputs),
        )
        if abs(stated - counted) > MOST_APART * counted:
            raise ValueError(
                f"the search space says that {dict(architecture)} costs {stated} multiply-adds, torch counts "
                f"{counted}: the costs of choices and products do not describe this network"
            )
