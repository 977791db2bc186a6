"""Cuts a plain network out of a supernet, without search and without training.

    small = cut(supernet, {"width": 16, "depth": 2})

What is cut has the supernet's class names where nothing is elastic, its parameter names, dtypes and devices,
and holds copies. Weights that two modules share are still shared.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from oneloop.models.supernet.elastic import Architecture, Elastic, at


class Cutter:
    """Makes the plain counterparts of modules and weights, each once however often it is met."""

    def __init__(self, copies: bool):
        """`copies`: weights are copied; otherwise they are views of the supernet's."""
        self.copies = copies
        self._memo: dict[int, object] = {}
        self._weights: dict[tuple[object, ...], Tensor] = {}

    def module(self, module: nn.Module) -> nn.Module:
        """The plain counterpart of `module`, elastic or not."""
        if id(module) not in self._memo:
            if isinstance(module, Elastic):
                made = module.cut(self).train(module.training)
            else:
                made = self._plain(module)
            self._memo[id(module)] = made
        return cast(nn.Module, self._memo[id(module)])

    def _plain(self, module: nn.Module) -> nn.Module:
        """A copy of a module that is not elastic itself, with its elastic descendants cut."""
        for child in module.children():
            self.module(child)
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        for tensor in own:
            self._memo[id(tensor)] = self.weight(tensor)
        return copy.deepcopy(module, self._memo)  # finds in the memo what was cut

    def weight(self, tensor: Tensor, part: Tensor | None = None) -> Tensor:
        """`part` (a slice of the weight or buffer `tensor`; None: all), as a parameter where that is one."""
        part = tensor if part is None else part
        key = (id(tensor), part.shape, part.storage_offset())
        if key not in self._weights:
            held = (
                part.detach().clone(memory_format=torch.contiguous_format) if self.copies else part.detach()
            )
            self._weights[key] = (
                nn.Parameter(held, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else held
            )
        return self._weights[key]


def cut(model: nn.Module, architecture: Architecture, copies: bool = True) -> nn.Module:
    """The plain network that `model` is at `architecture`; `model` itself is left as it is.

    With `copies` False the weights are views of the supernet's, for use before these change.
    Raises ValueError for an architecture that `model` does not have.
    """
    with at(model, architecture), torch.no_grad():
        return Cutter(copies).module(model)
