"""Which subnets of a language model are sampled and trained: one checkpoint then serves several budgets."""

from typing import Annotated, Any

from pydantic import Field

from oneloop.core.part import part
from oneloop.models.supernet.llama import LlamaSubnets

Numbers = tuple[Annotated[int, Field(ge=1)], ...]


@part(paper="arXiv 2307.08300")
class ElasticOptions:
    """Every combination is a subnet; the model's own numbers are always among them."""

    layers: Numbers = ()
    """Numbers of transformer blocks, counted from the first."""
    heads: Numbers = ()
    """Numbers of query heads of a block; with grouped-query attention whole groups."""
    width: Numbers = ()
    """Numbers of units inside the MLP of a block (`intermediate_size`)."""

    def subnets(self, model: Any) -> LlamaSubnets:
        """Those of `model`. Raises ValueError, naming the option, for a number it cannot have."""
        try:
            return LlamaSubnets(model, self.layers, self.heads, self.width)
        except ValueError as error:
            raise ValueError(f"policy.language.elastic: {error}") from error
