"""A second model to sample from while the first is trained; weights that are not trained are shared."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def trained(model: nn.Module) -> list[Tensor]:
    """The trained weights of `model`, each once, in the order of its parameters."""
    return [weight.detach() for weight in model.parameters() if weight.requires_grad]


def second_model(model: Any) -> Any:
    """`model` once more, in the same mode and on the same device."""
    shared = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    return copy.deepcopy(model, shared)


@torch.no_grad()
def overwrite(model: nn.Module, weights: Sequence[Tensor]) -> None:
    """Makes copies of `weights` the trained weights of `model`, in the order of its parameters."""
    mine = trained(model)
    if [weight.shape for weight in mine] != [weight.shape for weight in weights]:
        raise ValueError(f"{len(weights)} weights for a model with {len(mine)} that are trained")
    torch._foreach_copy_(mine, list(weights))
