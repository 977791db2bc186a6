"""The repeated blocks of a network, whatever it is called."""

from torch import nn


def blocks(model: nn.Module) -> list[nn.Module]:
    """The modules of the `ModuleList` that holds the most parameters; none in a network without one.

    In a transformer these are its layers: lists inside of a layer (experts, say) hold less than all layers.
    """
    lists = [list(part) for part in model.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=_size, default=[])


def _size(modules: list[nn.Module]) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())
