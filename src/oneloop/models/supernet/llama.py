"""Subnets of an ordinary Llama: its first blocks, the first heads of each, and the first units of each MLP.

    size       layers x heads x width            blocks, query heads, units inside the MLP
    weights    every matrix of a subnet is the corner [:rows, :columns] of the whole network's
    cost       2 W FLOPs a token, W the weights that a token is multiplied by (oneloop.core.meter)

The residual stream keeps its width, so norms, embedding and head are shared whole. Key heads go with the
query heads that share them: with grouped-query attention only whole groups are kept. Nothing is sorted by
importance, and attention over the context is not in the cost. `view` shares the weights, `cut` copies them;
both are plain models of the same class, which `save_pretrained` writes as a folder like any other.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oneloop.core.meter import multiplied

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
SHOWN = 12
"""Subnets that an error lists."""


@dataclass(frozen=True, order=True)
class LlamaSize:
    """How large a subnet is."""

    layers: int
    """Transformer blocks, the first ones."""
    heads: int
    """Query heads of each block, the first ones."""
    width: int
    """Units inside the MLP of each block, the first ones."""

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.heads} heads, width {self.width}"


def whole(model: Any) -> LlamaSize:
    """The size of `model` itself. Raises ValueError for a model that is no Llama."""
    if type(model).__name__ not in FAMILY:
        raise ValueError(f"{type(model).__name__} cannot be elastic; supported are {', '.join(FAMILY)}")
    config = model.config
    return LlamaSize(config.num_hidden_layers, config.num_attention_heads, config.intermediate_size)


class LlamaSubnets:
    """The subnets of `model` with these numbers of layers, heads and width; its own are always among them.

    Raises ValueError, naming the option, for a number that the model cannot have.
    """

    def __init__(
        self, model: Any, layers: Sequence[int] = (), heads: Sequence[int] = (), width: Sequence[int] = ()
    ):
        self.model, self.largest = model, whole(model)
        config = model.config
        keys = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self.group = config.num_attention_heads // keys
        grid = [
            _choices("layers", layers, self.largest.layers),
            _choices("heads", heads, self.largest.heads, self.group),
            _choices("width", width, self.largest.width),
        ]
        found = [LlamaSize(*each) for each in itertools.product(*grid)]
        self.costs = {size: self._cost(size) for size in found}
        """FLOPs a token of each subnet, the cheapest first."""
        self.costs = dict(sorted(self.costs.items(), key=lambda item: (item[1], item[0])))

    def _cost(self, size: LlamaSize) -> int:
        return 2 * multiplied(self._empty(size))[0]

    def within(self, flops: int) -> LlamaSize:
        """The costliest subnet that takes at most `flops` a token. Raises ValueError when none does."""
        fitting = [size for size, cost in self.costs.items() if cost <= flops]
        if not fitting:
            listed = [f"{cost} ({size})" for size, cost in itertools.islice(self.costs.items(), SHOWN)]
            more = "" if len(self.costs) <= SHOWN else f", and {len(self.costs) - SHOWN} more"
            raise ValueError(
                f"no subnet takes at most {flops} FLOPs a token; there are: {'; '.join(listed)}{more}"
            )
        return fitting[-1]

    def config(self, size: LlamaSize) -> Any:
        """The configuration of a plain model of that size."""
        config = copy.deepcopy(self.model.config)
        config.head_dim = self.model.model.layers[0].self_attn.head_dim
        config.num_hidden_layers, config.intermediate_size = size.layers, size.width
        config.num_attention_heads, config.num_key_value_heads = size.heads, size.heads // self.group
        for name, value in list(vars(config).items()):  # one value a layer
            if isinstance(value, list) and len(value) == self.largest.layers:
                setattr(config, name, value[: size.layers])
        return config

    def _empty(self, size: LlamaSize) -> Any:
        """A model of that size without memory for its weights."""
        with torch.device("meta"):
            return type(self.model)(self.config(size)).to(self.model.dtype)

    def corners(self, size: LlamaSize, model: Any = None) -> dict[str, Tensor]:
        """The elastic weights of a subnet by name, as views of those of `model` (None: the present one's).

        A gradient in them is one of the whole weights, 0 outside the corner.
        """
        weights = dict((model or self.model).named_parameters())
        shapes = {name: weight.shape for name, weight in self._empty(size).named_parameters()}
        return {
            name: weights[name][tuple(slice(length) for length in shape)]
            for name, shape in shapes.items()
            if weights[name].shape != shape
        }

    def view(self, size: LlamaSize, model: Any = None) -> Any:
        """A plain model of that size whose weights are those of `model` (None: the present one), in the
        same memory.

        Its elastic weights have no gradient of their own; the others are the parameters themselves.
        """
        made, source = self._empty(size), model or self.model
        corners = {name: weight.detach() for name, weight in self.corners(size, source).items()}
        shared = dict(source.named_parameters())
        for name, _ in list(made.named_parameters(remove_duplicate=False)):
            weight = nn.Parameter(corners[name], False) if name in corners else shared.get(name)
            parent, _, child = name.rpartition(".")
            if weight is not None:  # else it is tied to one of another name
                setattr(made.get_submodule(parent), child, weight)
        if made.config.tie_word_embeddings:
            made.lm_head.weight = made.model.embed_tokens.weight
        made.model.rotary_emb = source.model.rotary_emb
        return made.eval()

    def cut(self, size: LlamaSize) -> Any:
        """A plain model of that size with copies of the weights."""
        made = copy.deepcopy(self.view(size))
        made.generation_config = copy.deepcopy(self.model.generation_config)
        for weight in made.parameters():
            weight.data = weight.data.contiguous()
        return made.requires_grad_(True)


def _choices(option: str, given: Sequence[int], own: int, step: int = 1) -> list[int]:
    for value in given:
        if not 1 <= value <= own:
            raise ValueError(f"{option}: got {value}, the model has {own}")
        if value % step:
            raise ValueError(
                f"{option}: got {value}, but {step} query heads share a key head and whole groups are kept: "
                f"take a multiple of {step}, such as {max(step, value // step * step)}"
            )
    return sorted({*given, own})
