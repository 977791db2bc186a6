"""A plain second model with the weights of one that is being trained, LoRA adapters added to them.

    W + alpha / rank * B A      of each linear layer with an adapter; every other weight shared, or copied

With the adapters inside its weights a model takes the tersest forward there is. Adapters that are not plain
LoRA on linear layers, or stand beside weights of less than 32 bits (rounding the sum would lose small
updates), stay beside them. Not here: which forward (twin.py).
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


class SecondModel:
    """`model` once more, for reading only: `refresh` takes over the weights of the first after an update.

    dtype None: parameters are those of the first, but for linear layers with adapters; else all are copies in
    `dtype`.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None):
        adapters = plain_adapters(model, dtype)
        changed = {id(layer.get_base_layer().weight) for layer in adapters.values()}
        added = {id(weight) for layer in adapters.values() for weight in added_by(layer)}
        shared: dict[int, Any] = {}
        self._copies: list[tuple[Tensor, Tensor]] = []
        for source in model.parameters():
            if id(source) in added or (dtype is None and id(source) not in changed):
                shared[id(source)] = source
                continue
            made = source.detach().to(dtype or source.dtype, copy=True)
            shared[id(source)] = nn.Parameter(made, requires_grad=False)
            if id(source) not in changed:
                self._copies.append((shared[id(source)], source))
        self.model: PreTrainedModel = copy.deepcopy(model, shared).eval()
        self._merged: list[tuple[Tensor, Any]] = []
        for name, layer in adapters.items():
            plain = self.model.get_submodule(name).get_base_layer()  # type: ignore[operator]
            parent, _, child = name.rpartition(".")
            setattr(self.model.get_submodule(parent), child, plain)
            self._merged.append((plain.weight, layer))
        if adapters and hasattr(self.model, "peft_config"):
            del self.model.peft_config
        self.refresh()

    @property
    def own(self) -> list[Tensor]:
        """The weights that are made of the first model's, instead of being them."""
        return [weight for weight, _ in [*self._copies, *self._merged]]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the first model's weights."""
        if self._copies:
            copies, sources = zip(*self._copies, strict=True)
            torch._foreach_copy_(list(copies), list(sources))
        for weight, layer in self._merged:
            change = sum(layer.get_delta_weight(name) for name in layer.active_adapters)
            weight.copy_(layer.get_base_layer().weight + change)


def plain_adapters(model: nn.Module, dtype: torch.dtype | None) -> dict[str, Any]:
    """{name: layer} of all layers with adapters; none unless every one can be added exactly enough."""
    if not hasattr(model, "peft_config"):
        return {}
    from peft.tuners.lora import Linear, LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: part for name, part in model.named_modules() if isinstance(part, BaseTunerLayer)}
    plain = all(
        isinstance(layer, Linear) and isinstance(layer, LoraLayer) and _adds(layer, dtype)
        for layer in layers.values()
    )
    return layers if plain else {}


def _adds(layer: Any, dtype: torch.dtype | None) -> bool:
    exact = dtype is not None or layer.get_base_layer().weight.dtype in (torch.float32, torch.float64)
    ordinary = type(layer.get_base_layer()) in (nn.Linear, Conv1D) and not layer.lora_variant
    return exact and ordinary and not layer.merged and not any(layer.lora_bias.values())


def added_by(layer: Any) -> list[Tensor]:
    """The weights of a layer's adapters."""
    base = {id(weight) for weight in layer.get_base_layer().parameters()}
    return [weight for weight in layer.parameters() if id(weight) not in base]
