"""A terse forward for the Llama family (Llama, Mistral, Qwen2, Qwen3): same numbers, fewer operations.

On small models and few rows a decode step is mostly the overhead of calling small operations. Here one
matrix product gives queries, keys and values, one gives gate and up, rotations come from a table, and queries
and keys turn together.
Other models, and adapters, take the modules' own forward (twin.py). Not here: attention (attention.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from oneloop.engines.attention import attend
from oneloop.engines.hardware import multiplies_bf16
from oneloop.engines.llama_few_rows import FEW, LlamaFewRows, serves
from oneloop.engines.slot_cache import SlotStep

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
PACKED_FOR = 64
"""Rows a packed layout is made for: it serves fewer and more as well."""
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    multiply = torch.ops.mkldnn._linear_pointwise.default  # a look-up costs as much as a small operation


class JoinedLinears:
    """Linear modules that read the same input; their results stand side by side.

    On a CPU their weights are kept in oneDNN's own layout as well, as they were at the last `refresh`: with
    few rows a product over plain weights takes up to four times as long. Elsewhere weights that may be laid
    out anew (`owned`) become views of one tensor, and the trainer's own are multiplied one by one.
    dtype: that of the layout and the products, which may be narrower than the weights'.
    """

    def __init__(self, modules: Sequence[nn.Linear], owned: bool, dtype: torch.dtype) -> None:
        weight = modules[0].weight
        self.modules, self.dtype, self.packed = modules, dtype, packs(weight.device, dtype)
        biased = modules[0].bias is not None
        self.plain: list[tuple[Tensor, Tensor | None]] = [(module.weight, module.bias) for module in modules]
        if owned and not self.packed:
            weight = _merged([module.weight for module in modules])
            self.plain = [(weight, _merged([module.bias for module in modules]) if biased else None)]
        self.refresh()

    def refresh(self) -> None:
        """Take over the modules' weights as they are now."""
        if self.packed:
            weight = torch.cat([module.weight.detach().to(self.dtype) for module in self.modules])
            self.layout = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR)
            biases = [module.bias.detach() for module in self.modules if module.bias is not None]
            self.bias = torch.cat(biases).to(self.dtype) if biases else None

    def free(self) -> None:
        """Give back the memory of oneDNN's layout, until the next `refresh`."""
        if self.packed:
            self.layout = self.plain[0][0].new_empty(0)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[N, out of all modules] of hidden [N, in]."""
        if self.packed:
            product: Tensor = multiply(hidden.to(self.dtype), self.layout, self.bias, "none", [], "")
            return product
        results = [F.linear(hidden, weight, bias) for weight, bias in self.plain]
        return results[0] if len(results) == 1 else torch.cat(results, dim=-1)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN lays out weights here: fp32 on a CPU, bf16 on one that multiplies it."""
    if device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if dtype == torch.bfloat16:  # oneDNN may be told to use less than the CPU has
        return multiplies_bf16(device) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def product_type(device: torch.device, weights: torch.dtype, autocast: bool) -> torch.dtype:
    """The type of products with weights of this type; autocast: whoever trains them multiplies in bf16."""
    return torch.bfloat16 if autocast and packs(device, torch.bfloat16) else weights


class LlamaLayer(NamedTuple):
    """Weights of one transformer block; H query heads, K key heads, D head size."""

    before_attention: Tensor
    queries_keys_values: JoinedLinears
    head_norms: tuple[Tensor, Tensor] | None
    """[D] each: Qwen3's norms of query and key heads."""
    output: JoinedLinears
    before_mlp: Tensor
    gate_up: JoinedLinears
    down: JoinedLinears
    window: int | None


def fusable(model: PreTrainedModel) -> bool:
    """Whether this forward computes the model: family, plain projections, rotations of whole heads."""
    if type(model).__name__ not in FAMILY:
        return False
    plain = all(type(module) is nn.Linear for block in model.model.layers for module in _projections(block))
    return plain and model.model.rotary_emb.inv_freq.numel() * 2 == model.model.layers[0].self_attn.head_dim


class LlamaForward:
    """The forward of a fusable `model`; `owned`: its weights may be laid out anew.

    products: type of products with weights (`product_type`).
    All else is computed in the model's own type, and so are steps of few rows of a small model, which bf16
    would slow.
    """

    def __init__(self, model: PreTrainedModel, owned: bool, products: torch.dtype) -> None:
        self.model, self.owned, self.products = model, owned, products
        first: Any = model.model.layers[0].self_attn
        self.size, self.scaling, self.act = first.head_dim, first.scaling, model.model.layers[0].mlp.act_fn
        self.heads = first.q_proj.out_features // self.size
        self.keys = first.k_proj.out_features // self.size
        self.eps = model.config.rms_norm_eps
        self.floor = torch.tensor(self.eps)
        self.mistral = type(model).__name__ == "MistralForCausalLM"  # one window for all layers
        self.embedding, self.norm = model.model.embed_tokens.weight, model.model.norm.weight
        self.head = self._joined(model.lm_head)
        self.layers = [self._layer(block) for block in model.model.layers]
        self.cosine = self.sine = torch.empty(0)
        self.few = None
        if serves(model):
            self.few = LlamaFewRows(model, [layer.window for layer in self.layers])

    def __call__(self, ids: Tensor, step: SlotStep, keep: list[int] | None) -> Tensor:
        """Logits [kept, V] of one packed step over ids [N]; `keep`: positions wanted, None for all."""
        self._reach(step)
        cosine, sine = self.cosine[step.position], self.sine[step.position]
        if self.few is not None and not step.spans and step.rows <= FEW:
            return self.few(ids, step, cosine, sine)
        hidden = F.embedding(ids, self.embedding)
        for number, layer in enumerate(self.layers):
            mixed = self._attention(
                self._normed(hidden, layer.before_attention), number, layer, step, cosine, sine
            )
            hidden = hidden + layer.output(mixed)
            gate, up = layer.gate_up(self._normed(hidden, layer.before_mlp)).chunk(2, dim=-1)
            hidden = hidden + layer.down(self.act(gate).mul_(up))
        if keep is not None:
            hidden = hidden[keep]
        return self.head(self._normed(hidden, self.norm))

    def _attention(
        self, hidden: Tensor, number: int, layer: LlamaLayer, step: SlotStep, cosine: Tensor, sine: Tensor
    ) -> Tensor:
        """Mixed values [N, H * D] of hidden [N, C]."""
        turned = self.heads + self.keys
        every = layer.queries_keys_values(hidden).to(hidden.dtype).view(len(hidden), -1, self.size)
        pairs = every[:, :turned]
        if layer.head_norms is not None:
            parts = zip(pairs.split([self.heads, self.keys], dim=1), layer.head_norms, strict=True)
            pairs = torch.cat([self._normed(part, weight) for part, weight in parts], dim=1)
        straight, half = pairs, self.size // 2
        pairs = straight * cosine  # then by halves: `roll` takes as long as a matrix product
        pairs[..., :half].addcmul_(straight[..., half:], sine[..., :half])
        pairs[..., half:].addcmul_(straight[..., :half], sine[..., half:])
        query, key = pairs[:, : self.heads], pairs[:, self.heads :]
        mixed = attend(step, number, query, key, every[:, turned:], self.scaling, layer.window)
        return mixed.reshape(len(hidden), -1)

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm over the last axis; on a CPU `F.rms_norm` is nine small operations, this is five."""
        if hidden.device.type != "cpu" or hidden.dtype != torch.float32:
            return F.rms_norm(hidden, (hidden.shape[-1],), weight, self.eps)
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        scale = torch.addcmul(self.floor, length, length, value=1 / hidden.shape[-1]).rsqrt_()
        return (hidden * scale).mul_(weight)

    def _reach(self, step: SlotStep) -> None:
        """Make the tables [P, 1, D] of cosines and signed sines long enough for the step's positions."""
        needed = step.cache.width
        if needed > len(self.cosine):
            places = torch.arange(max(needed, 2 * len(self.cosine)), device=step.position.device)
            cosine, sine = self.model.model.rotary_emb(self.embedding[:1], places[None])
            half = self.size // 2
            self.cosine = cosine[0, :, None]
            self.sine = torch.cat((-sine[..., :half], sine[..., half:]), dim=-1)[0, :, None]

    def refresh(self) -> None:
        """Take over the model's weights after an update."""
        for product in self._products():
            product.refresh()
        if self.few is not None:
            self.few.refresh()

    def free(self) -> None:
        """Give back what is made of the weights, until the next `refresh`."""
        for product in self._products():
            product.free()
        if self.few is not None:
            self.few.refresh()

    def _products(self) -> Iterator[JoinedLinears]:
        for layer in self.layers:
            yield from (layer.queries_keys_values, layer.output, layer.gate_up, layer.down)
        yield self.head

    def _joined(self, *modules: nn.Linear) -> JoinedLinears:
        return JoinedLinears(modules, self.owned, self.products)

    def _layer(self, block: Any) -> LlamaLayer:
        attention, mlp = block.self_attn, block.mlp
        normed = hasattr(attention, "q_norm")
        return LlamaLayer(
            block.input_layernorm.weight,
            self._joined(attention.q_proj, attention.k_proj, attention.v_proj),
            (attention.q_norm.weight, attention.k_norm.weight) if normed else None,
            self._joined(attention.o_proj),
            block.post_attention_layernorm.weight,
            self._joined(mlp.gate_proj, mlp.up_proj),
            self._joined(mlp.down_proj),
            attention.config.sliding_window if self.mistral else getattr(attention, "sliding_window", None),
        )


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
