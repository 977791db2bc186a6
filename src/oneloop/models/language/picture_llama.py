"""A small Llama that writes pictures: its alphabet is that of the prompts and the codes of an image
tokenizer.
"""

import string
from typing import Annotated

from pydantic import Field
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from oneloop.core.part import part
from oneloop.models.image_tokenizer.as_text import MOST, alphabet
from oneloop.models.language.small_llama import SmallLlama


@part()
class PictureLlama:
    """A `small_llama` whose tokens are the characters of prompts and `codes` codes of pictures."""

    codes: Annotated[int, Field(ge=2, le=MOST)] = 256
    """Codes of the tokenizer: its `codebook_size`."""
    prompts: Annotated[str, Field(min_length=1)] = string.ascii_letters + string.digits + " "
    """Characters of prompts."""
    hidden_size: Annotated[int, Field(ge=2)] = 64
    """Width of the residual stream, a multiple of 2 * heads."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 2
    """Number of transformer blocks."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of each block."""
    max_positions: Annotated[int, Field(ge=2)] = 512
    """Longest prompt and picture together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights."""

    def __post_init__(self) -> None:
        self.plain()

    def plain(self) -> SmallLlama:
        """The same model, its alphabet spelled out. Raises ValueError for sizes that do not fit."""
        return SmallLlama(
            hidden_size=self.hidden_size,
            layers=self.layers,
            heads=self.heads,
            alphabet=self.prompts + alphabet(self.codes),
            max_positions=self.max_positions,
            seed=self.seed,
        )

    def build(self) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
        """(model in fp32 on the CPU, tokenizer). Does not change torch's global random state."""
        return self.plain().build()
