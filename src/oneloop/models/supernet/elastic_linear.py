"""A linear layer and an embedding whose numbers of features are chosen."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oneloop.models.supernet.cutting import Cutter
from oneloop.models.supernet.elastic import Elastic, Kept, masked


class ElasticLinear(nn.Linear, Elastic):
    """y = W[:o, :i] x + b[:o], with i and o features kept of those it has."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        inputs: Kept | None = None,
        outputs: Kept | None = None,
        **options: Any,
    ):
        """`inputs`, `outputs`: choices that these follow (None: all are used); `options` as nn.Linear's."""
        super().__init__(in_features, out_features, bias, **options)
        self.inputs, self.outputs = inputs, outputs

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """Of inputs and outputs those that are elastic."""
        if self.inputs is not None:
            yield self.inputs, self.in_features
        if self.outputs is not None:
            yield self.outputs, self.out_features

    def forward(self, input: Tensor) -> Tensor:
        """[..., outputs kept] of [..., inputs kept]. Raises ValueError for another number of inputs."""
        return masked(self.project(input), self.mask_of(self.outputs))

    def project(self, input: Tensor) -> Tensor:
        """`forward` before any mask."""
        weight, bias = self._present_weights()
        if input.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"elastic linear layer: got {input.shape[-1]} features, the present architecture has "
                f"{weight.shape[1]} of {self.in_features}"
                + (f" (choice '{self.inputs.choice}')" if self.inputs else "")
            )
        return F.linear(input, weight, bias)

    def _present_weights(self) -> tuple[Tensor, Tensor | None]:
        rows, columns = self.size(self.outputs, self.out_features), self.size(self.inputs, self.in_features)
        return self.weight[:rows, :columns], None if self.bias is None else self.bias[:rows]

    def cut(self, cutter: Cutter) -> nn.Linear:
        """An `nn.Linear` of the features kept."""
        weight, bias = self._present_weights()
        with torch.device("meta"):
            made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        made.weight = cutter.weight(self.weight, weight)  # type: ignore[assignment]
        if bias is not None:
            made.bias = cutter.weight(self.bias, bias)  # type: ignore[assignment]
        return made


class ElasticEmbedding(nn.Embedding, Elastic):
    """An embedding of which the first features are kept."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        outputs: Kept | None = None,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ):
        """`outputs`: the choice that the features follow; the others as nn.Embedding's."""
        super().__init__(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        self.outputs = outputs

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """The features, where they are elastic."""
        if self.outputs is not None:
            yield self.outputs, self.embedding_dim

    def forward(self, input: Tensor) -> Tensor:
        """[..., features kept] of ids [...]."""
        weight = self.weight[:, : self.size(self.outputs, self.embedding_dim)]
        return masked(F.embedding(input, weight, self.padding_idx), self.mask_of(self.outputs))

    def cut(self, cutter: Cutter) -> nn.Embedding:
        """An `nn.Embedding` of the features kept."""
        weight = self.weight[:, : self.size(self.outputs, self.embedding_dim)]
        made: nn.Embedding = nn.Embedding.from_pretrained(weight, padding_idx=self.padding_idx)
        made.weight = cutter.weight(self.weight, weight)  # type: ignore[assignment]
        return made
