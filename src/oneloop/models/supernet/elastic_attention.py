"""Self-attention whose number of heads is chosen; a head has the same size whatever is kept."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from oneloop.models.supernet.cutting import Cutter
from oneloop.models.supernet.elastic import Elastic, Kept
from oneloop.models.supernet.elastic_linear import ElasticLinear


class SelfAttention(nn.Module):
    """Attention of every place to every place (or, `causal`, to those before it), without dropout."""

    def __init__(
        self, query: nn.Linear, key: nn.Linear, value: nn.Linear, output: nn.Linear, size: int, causal: bool
    ):
        """`size`: features of a head; the projections give a multiple of it."""
        super().__init__()
        self.query, self.key, self.value, self.output = query, key, value, output
        self.head_size, self.causal = size, causal

    def forward(self, input: Tensor) -> Tensor:
        """[B, L, width] of [B, L, width]."""
        return self._attend(self.query(input), self.key(input), self.value(input))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The output of queries, keys and values [B, L, heads * head_size]."""
        queries, keys, values = (
            given.unflatten(-1, (given.shape[-1] // self.head_size, self.head_size)).transpose(1, 2)
            for given in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result


class ElasticSelfAttention(SelfAttention, Elastic):
    """Self-attention that keeps the first heads, over the first features of the residual stream."""

    def __init__(
        self, width: int, heads: int, kept_heads: str, width_kept: Kept | None = None, causal: bool = False
    ):
        """`kept_heads`: name of the choice of heads; `width_kept`: the choice that the width follows.

        Raises ValueError where the heads do not divide the width.
        """
        if heads < 1 or width % heads:
            raise ValueError(f"heads: got {heads}, must divide the width {width}")
        size = width // heads
        self_heads = Kept(kept_heads, each=size)
        query, key, value = (
            ElasticLinear(width, width, inputs=width_kept, outputs=self_heads) for _ in range(3)
        )
        output = ElasticLinear(width, width, inputs=self_heads, outputs=width_kept)
        super().__init__(query, key, value, output, size, causal)

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """Nothing beyond what its projections follow."""
        return iter(())

    def forward(self, input: Tensor) -> Tensor:
        """[B, L, width kept] of [B, L, width kept]."""
        # a mask weighs a head once, by its values: on queries and keys it would change the attention too
        query, key = _elastic(self.query).project(input), _elastic(self.key).project(input)
        return self._attend(query, key, self.value(input))

    def cut(self, cutter: Cutter) -> SelfAttention:
        """Plain self-attention of the heads kept."""
        query, key, value, output = (
            _elastic(layer).cut(cutter) for layer in (self.query, self.key, self.value, self.output)
        )
        return SelfAttention(query, key, value, output, self.head_size, self.causal)


def _elastic(layer: nn.Module) -> ElasticLinear:
    assert isinstance(layer, ElasticLinear)
    return layer
