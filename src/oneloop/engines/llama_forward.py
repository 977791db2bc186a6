"""A terse forward for the Llama family (Llama, Mistral, Qwen2, Qwen3): same numbers, fewer operations.

On small models and few rows a decode step is mostly the overhead of calling small operations. Here one
matrix product gives queries, keys and values, one gives gate and up, rotations come from a table, and queries
and keys turn together. The weights are those of the model's modules. If it owns them (a copying twin),
projections with the same input become views of one tensor; if they are the trainer's, they are multiplied one
by one.
Other models, and adapters, take the modules' own forward (twin.py). Not here: attention (attention.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from oneloop.engines.attention import attend
from oneloop.engines.slot_cache import Step

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
Product = list[
    tuple[Tensor, Tensor | None]
]  # weights [out, in] and biases [out] whose results stand side by side


class Layer(NamedTuple):
    """What one block computes with; H query heads, K key heads, D head size."""

    before_attention: Tensor
    queries_keys_values: Product
    head_norms: tuple[Tensor, Tensor] | None
    """[D] each: Qwen3's norms of query and key heads."""
    output: tuple[Tensor, Tensor | None]
    before_mlp: Tensor
    gate_up: Product
    down: tuple[Tensor, Tensor | None]
    window: int | None


def fusable(model: PreTrainedModel) -> bool:
    """Whether this forward computes the model: family, plain projections, rotations of whole heads."""
    if type(model).__name__ not in FAMILY:
        return False
    plain = all(type(module) is nn.Linear for block in model.model.layers for module in _projections(block))
    return plain and model.model.rotary_emb.inv_freq.numel() * 2 == model.model.layers[0].self_attn.head_dim


class LlamaForward:
    """The forward of a fusable `model`; `owned`: its weights may be laid out anew."""

    def __init__(self, model: PreTrainedModel, owned: bool) -> None:
        self.model, self.owned = model, owned
        first: Any = model.model.layers[0].self_attn
        self.size, self.scaling, self.act = first.head_dim, first.scaling, model.model.layers[0].mlp.act_fn
        self.heads = first.q_proj.out_features // self.size
        self.keys = first.k_proj.out_features // self.size
        self.eps = model.config.rms_norm_eps
        self.mistral = type(model).__name__ == "MistralForCausalLM"  # one window for all layers
        self.embedding, self.norm = model.model.embed_tokens.weight, model.model.norm.weight
        self.head = (model.lm_head.weight, model.lm_head.bias)
        self.layers = [self._layer(block) for block in model.model.layers]
        self.cosine = self.sine = torch.empty(0)

    def __call__(self, ids: Tensor, step: Step, keep: list[int] | None) -> Tensor:
        """Logits [kept, V] of one packed step over ids [N]; `keep`: positions wanted, None for all."""
        self._reach(step)
        hidden = F.embedding(ids, self.embedding)
        cosine, sine = self.cosine[step.position], self.sine[step.position]
        for number, layer in enumerate(self.layers):
            mixed = self._attention(
                self._normed(hidden, layer.before_attention), number, layer, step, cosine, sine
            )
            hidden = hidden + F.linear(mixed, *layer.output)
            gate, up = _times(self._normed(hidden, layer.before_mlp), layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + F.linear(self.act(gate).mul_(up), *layer.down)
        if keep is not None:
            hidden = hidden[keep]
        return F.linear(self._normed(hidden, self.norm), *self.head)

    def _attention(
        self, hidden: Tensor, number: int, layer: Layer, step: Step, cosine: Tensor, sine: Tensor
    ) -> Tensor:
        """Mixed values [N, H * D] of hidden [N, C]."""
        turned = self.heads + self.keys
        every = _times(hidden, layer.queries_keys_values).view(len(hidden), turned + self.keys, self.size)
        pairs = every[:, :turned]
        if layer.head_norms is not None:
            parts = zip(pairs.split([self.heads, self.keys], dim=1), layer.head_norms, strict=True)
            pairs = torch.cat([self._normed(part, weight) for part, weight in parts], dim=1)
        pairs = torch.addcmul(pairs * cosine, pairs.roll(self.size // 2, -1), sine)
        query, key = pairs[:, : self.heads], pairs[:, self.heads :]
        mixed = attend(step, number, query, key, every[:, turned:], self.scaling, layer.window)
        return mixed.reshape(len(hidden), -1)

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, (hidden.shape[-1],), weight, self.eps)

    def _reach(self, step: Step) -> None:
        """Make the tables [P, 1, D] of cosines and signed sines long enough for the step's positions."""
        needed = step.cache.width
        if needed > len(self.cosine):
            places = torch.arange(max(needed, 2 * len(self.cosine)), device=step.position.device)
            cosine, sine = self.model.model.rotary_emb(self.embedding[:1], places[None])
            half = self.size // 2
            self.cosine = cosine[0, :, None]
            self.sine = torch.cat((-sine[..., :half], sine[..., half:]), dim=-1)[0, :, None]

    def _layer(self, block: Any) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        normed = hasattr(attention, "q_norm")
        return Layer(
            block.input_layernorm.weight,
            self._product(attention.q_proj, attention.k_proj, attention.v_proj),
            (attention.q_norm.weight, attention.k_norm.weight) if normed else None,
            (attention.o_proj.weight, attention.o_proj.bias),
            block.post_attention_layernorm.weight,
            self._product(mlp.gate_proj, mlp.up_proj),
            (mlp.down_proj.weight, mlp.down_proj.bias),
            attention.config.sliding_window if self.mistral else getattr(attention, "sliding_window", None),
        )

    def _product(self, *modules: nn.Linear) -> Product:
        """The modules' products side by side; if owned as one, their weights becoming views of it."""
        if not self.owned:
            return [(module.weight, module.bias) for module in modules]
        weight = _merged([module.weight for module in modules])
        biased = modules[0].bias is not None
        return [(weight, _merged([module.bias for module in modules]) if biased else None)]


def _projections(block: Any) -> list[nn.Module]:
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    parts = [getattr(block.self_attn, name) for name in names]
    return [*parts, block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj]


def _merged(parts: list[Tensor]) -> Tensor:
    """One tensor of all parts, which become views of it."""
    whole = torch.cat([part.data for part in parts])
    for part, view in zip(parts, whole.split([len(part) for part in parts]), strict=True):
        part.data = view
    return whole


def _times(hidden: Tensor, product: Product) -> Tensor:
    results = [F.linear(hidden, weight, bias) for weight, bias in product]
    return results[0] if len(results) == 1 else torch.cat(results, dim=-1)
