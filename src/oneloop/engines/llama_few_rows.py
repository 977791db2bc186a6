"""A decoding step of a few rows, for small models of the Llama family in fp32 on a CPU.

A batch with a long tail of lengths ends in hundreds of steps of one to sixteen rows. Such a step reads every
weight once and is otherwise the overhead of small operations, so here
    buffers, and all views of them, are made once and written to until the number of rows changes;
    the weights g of an RMSNorm are part of the matrix that follows, W diag(g sqrt(C)), which leaves three
        operations of it, x / hypot(|x|, sqrt(eps C)), for C channels;
    products are W x^T, which reads weights faster than x W^T, or a packed layout, while rows are few;
    a lone row has an idle one beside it: a product with a matrix takes less time than one with a vector.
Not here: whole sequences, many rows (llama_forward.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from oneloop.engines.slot_cache import SlotCache, SlotStep

FEW = 16
"""Rows up to which a step is made here: with more, products over packed weights are as fast."""
SMALL = 2**26
"""Parameters up to which a model has its weights copied for this: beyond, a step is its products anyway."""

# R live rows, N rows computed (R, but at least 2), W positions a slot, C channels, I channels inside the MLP,
# H query heads, K key heads, G = H / K query heads that share a key, D head size


class Matrix(NamedTuple):
    """Linear maps of the same input, stacked; the weights of the norm before them are part of it."""

    weight: Tensor
    """[out, in]"""
    bias: Tensor | None
    """[out, 1]"""

    def times(self, columns: Tensor, out: Tensor | None = None) -> Tensor:
        """[out, N] of columns [in, N]."""
        if self.bias is None:
            return torch.mm(self.weight, columns, out=out)
        return torch.addmm(self.bias, self.weight, columns, out=out)


class BlockWeights(NamedTuple):
    """Weights of one transformer block."""

    queries_keys_values: Matrix
    head_norm: Tensor | None
    """[H + K, D, 1]: Qwen3's norm weights of query and key heads, times sqrt(D)."""
    output: Matrix
    gate_up: Matrix
    down: Matrix
    window: int | None


def serves(model: PreTrainedModel) -> bool:
    """Whether steps of few rows of this fusable model should be made here."""
    weight = model.model.embed_tokens.weight
    plain = (
        weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkl.is_available()
    )
    return plain and sum(parameter.numel() for parameter in model.parameters()) <= SMALL


class LlamaFewRows:
    """Steps of at most `FEW` rows of `model`; `windows`: the sliding window of each layer, or None."""

    def __init__(self, model: PreTrainedModel, windows: list[int | None]) -> None:
        self.model, self.windows = model, windows
        first: Any = model.model.layers[0].self_attn
        self.size, self.scaling, self.act = first.head_dim, first.scaling, model.model.layers[0].mlp.act_fn
        self.heads = first.q_proj.out_features // self.size
        self.keys = first.k_proj.out_features // self.size
        self.embedding, self.eps = model.model.embed_tokens.weight, model.config.rms_norm_eps
        self.refresh()

    def refresh(self) -> None:
        """Take over the model's weights, as they are when first needed again."""
        self.blocks: list[BlockWeights] = []
        self.space: _Workspace | None = None

    def __call__(self, ids: Tensor, step: SlotStep, cosine: Tensor, sine: Tensor) -> Tensor:
        """Logits [R, V] after ids [R]; cosine and sine [R, 1, D], the sines of the first half negated."""
        if not self.blocks:
            self._take_over()
        space = self.space
        if space is None or space.rows != step.rows or space.cached is not step.cache.stored(0)[0]:
            space = self.space = _Workspace(self, step.cache, step.rows)
        places = space.enter(ids, step, cosine, sine, self.embedding)
        for number, block in enumerate(self.blocks):
            space.norm()
            block.queries_keys_values.times(space.normed_columns, out=space.queries_keys_values)
            if block.head_norm is not None:
                space.norm_heads(block.head_norm)
            space.turn()
            space.attend(number, places, step.hidden(block.window))
            block.output.times(space.mixed_columns, out=space.change)
            space.residual.add_(space.change_rows)
            space.norm()
            block.gate_up.times(space.normed_columns, out=space.gate_up)
            torch.mul(self.act(space.gate).t(), space.up_rows, out=space.gated)
            block.down.times(space.gated_columns, out=space.change)
            space.residual.add_(space.change_rows)
        space.norm()
        return self.head.times(space.normed_columns).t()[: step.rows]

    def _take_over(self) -> None:
        for block, window in zip(self.model.model.layers, self.windows, strict=True):
            attention, mlp = block.self_attn, block.mlp
            norm = None
            if hasattr(attention, "q_norm"):
                repeated = [attention.q_norm.weight] * self.heads + [attention.k_norm.weight] * self.keys
                norm = torch.stack(repeated)[..., None] * self.size**0.5
            self.blocks.append(
                BlockWeights(
                    _above(block.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj),
                    norm,
                    _above(None, attention.o_proj),
                    _above(block.post_attention_layernorm, mlp.gate_proj, mlp.up_proj),
                    _above(None, mlp.down_proj),
                    window,
                )
            )
        self.head = _above(self.model.model.norm, self.model.lm_head)


class _Workspace:
    """The buffers of a step of `rows` rows over `cache` as it is laid out now, and the views of them."""

    def __init__(self, forward: LlamaFewRows, cache: SlotCache, rows: int) -> None:
        columns = max(rows, 2)
        keys, size, half = forward.keys, forward.size, forward.size // 2
        turned, every = forward.heads + keys, forward.heads + 2 * keys
        channels, inside = forward.embedding.shape[1], forward.blocks[0].down.weight.shape[1]
        self.rows, self.keys, self.width, self.scaling = rows, keys, cache.width, forward.scaling

        self.residual, self.normed = torch.empty(2, columns, channels)
        self.length = torch.empty(columns, 1)
        self.normed_columns = self.normed.t()
        self.floor = torch.tensor((forward.eps * channels) ** 0.5)
        self.head_floor = torch.tensor((forward.eps * size) ** 0.5)

        self.queries_keys_values = torch.empty(every * size, columns)
        heads = self.queries_keys_values.view(every, size, columns)
        self.queries_keys = heads[:turned]
        self.straight = heads.transpose(1, 2)  # [H + 2K, N, D]
        self.turned = torch.empty(every, columns, size)
        self.straight_halves = self.straight[:turned, :, :half], self.straight[:turned, :, half:]
        self.turned_halves = self.turned[:turned, :, :half], self.turned[:turned, :, half:]
        self.cosine, self.sine = torch.ones(every, columns, size), torch.empty(columns, size)
        self.turning = self.cosine[:turned]  # values keep the cosine 1
        self.sines = self.sine[:, :half], self.sine[:, half:]
        self.turned_keys = self.turned[forward.heads : turned, :rows].view(-1, size)  # [K * R, D]
        self.turned_values = self.turned[turned:, :rows].view(-1, size)
        shared = forward.heads // keys
        self.turned_queries = (
            self.turned[: forward.heads].view(keys, shared, columns, size).permute(2, 0, 1, 3)
        )

        every_query = torch.empty(columns * keys, shared, size)
        self.queries = every_query.view(columns, keys, shared, size)
        self.live_queries = every_query[: rows * keys]
        self.scores, self.weights = torch.empty(2, rows * keys, shared, cache.width)
        self.scores_by_row = self.scores.view(rows, keys, shared, cache.width)
        mixed = torch.zeros(columns * keys, shared, size)  # zero for an idle row, which nobody writes
        self.mixed, self.mixed_columns = mixed[: rows * keys], mixed.view(columns, -1).t()

        self.change = torch.empty(channels, columns)
        self.change_rows = self.change.t()
        self.gate_up = torch.empty(2 * inside, columns)
        self.gate, self.up_rows = self.gate_up[:inside], self.gate_up[inside:].t()
        self.gated = torch.empty(columns, inside)
        self.gated_columns = self.gated.t()

        self.head_numbers = torch.arange(keys)[:, None]
        self.cached = cache.stored(0)[0]
        self.slots = [_views(*cache.stored(layer), rows) for layer in range(len(forward.blocks))]

    def enter(self, ids: Tensor, step: SlotStep, cosine: Tensor, sine: Tensor, embedding: Tensor) -> Tensor:
        """Begin a step; gives the places [K * R] of its keys in a layer's tensor seen as rows."""
        torch.index_select(embedding, 0, ids.expand(len(self.residual)), out=self.residual)
        self.turning.copy_(cosine.transpose(0, 1))
        self.sine.copy_(sine[:, 0])
        head = step.slot * self.keys + self.head_numbers  # [K, R]
        places: Tensor = (head * self.width + step.position).view(-1)
        return places

    def norm(self) -> None:
        """`normed`: the residual stream over its root mean square, times sqrt(1 / C)."""
        torch.linalg.vector_norm(self.residual, 2, -1, True, out=self.length)
        torch.div(self.residual, self.length.hypot_(self.floor), out=self.normed)

    def norm_heads(self, weight: Tensor) -> None:
        """RMSNorm of each query and key head, in place, times the norm's `weight`."""
        length = torch.linalg.vector_norm(self.queries_keys, 2, 1, True)
        self.queries_keys.div_(length.hypot_(self.head_floor)).mul_(weight)

    def turn(self) -> None:
        """`turned`: queries and keys rotated by their position, and values, by heads."""
        torch.mul(self.straight, self.cosine, out=self.turned)
        self.turned_halves[0].addcmul_(self.straight_halves[1], self.sines[0])
        self.turned_halves[1].addcmul_(self.straight_halves[0], self.sines[1])
        torch.mul(self.turned_queries, self.scaling, out=self.queries)

    def attend(self, layer: int, places: Tensor, hidden: Tensor) -> None:
        """Store keys and values, then make `mixed`; hidden [R, 1, 1, W] is -inf where a row may not look."""
        keys, values, by_position, by_slot = self.slots[layer]
        keys.index_copy_(0, places, self.turned_keys)
        values.index_copy_(0, places, self.turned_values)
        torch.bmm(self.live_queries, by_position, out=self.scores)
        self.scores_by_row.add_(hidden)
        torch.softmax(self.scores, -1, out=self.weights)
        torch.bmm(self.weights, by_slot, out=self.mixed)


def _views(keys: Tensor, values: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A layer's keys and values [S, K, W, D] as [S * K * W, D] each, then the live ones for two products."""
    _, heads, width, size = keys.shape
    live = (part[:rows].view(rows * heads, width, size) for part in (keys, values))
    live_keys, live_values = live
    return keys.view(-1, size), values.view(-1, size), live_keys.transpose(1, 2), live_values


def _above(norm: nn.Module | None, *modules: nn.Linear) -> Matrix:
    """The modules' maps, one above the other, of what `norm` leaves to be scaled."""
    weight = torch.cat([module.weight.detach() for module in modules])
    if norm is not None:
        weight = weight * (norm.weight.detach() * weight.shape[1] ** 0.5)  # type: ignore[operator]
    biases = [module.bias.detach() for module in modules if module.bias is not None]
    return Matrix(weight, torch.cat(biases)[:, None] if biases else None)
