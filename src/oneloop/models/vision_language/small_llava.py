"""A small LLaVA with a character-level tokenizer and its processor, built locally: nothing is downloaded.

    SigLIP tower -> projector -> Llama        (image_size / patch)^2 placeholders a picture

For demonstrations, tests and claims that must run in minutes on two cores. The weights are random: warm-start
it by a supervised phase, with freeze_vision: false. Left out: tiles, pictures of several sizes.
"""

import string
from typing import Annotated, Any

from pydantic import Field
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from oneloop.core.part import part
from oneloop.models.language.small_llama import character_tokenizer
from oneloop.models.seeded import Seed, seeded

PICTURE = "<image>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@part()
class SmallLlava:
    """A SigLIP tower and a Llama, both of `layers` blocks and width `hidden_size`."""

    hidden_size: Annotated[int, Field(ge=8)] = 64
    """Width of tower and language model, a multiple of 2 * heads."""
    layers: Annotated[int, Field(ge=1, le=100)] = 2
    """Blocks of the tower and of the language model."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of each block."""
    image_size: Annotated[int, Field(ge=4)] = 32
    """Pictures are resized to so many pixels a side."""
    patch_size: Annotated[int, Field(ge=2)] = 8
    """Pixels a side of a patch; a picture is (image_size / patch_size)^2 tokens."""
    alphabet: Annotated[str, Field(min_length=1)] = string.ascii_letters + string.digits + " .,:?+-=\n"
    """The characters it reads and writes, one token each; any other in a prompt is an error."""
    max_positions: Annotated[int, Field(ge=2)] = 512
    """Longest prompt and completion together, in tokens, a picture's included."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size must be a multiple of 2 * heads = {2 * self.heads}, got {self.hidden_size}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size must be a multiple of patch_size = {self.patch_size}, got {self.image_size}"
            )

    def build(self) -> tuple[LlavaForConditionalGeneration, Any]:
        """(model in fp32 on the CPU, processor). Does not change torch's global random state."""
        tokenizer = character_tokenizer(self.alphabet, self.max_positions)
        tokenizer.add_special_tokens({"additional_special_tokens": [PICTURE]})
        tokenizer.chat_template = CHAT_TEMPLATE
        sizes: dict[str, Any] = {
            "hidden_size": self.hidden_size,
            "intermediate_size": -(-self.hidden_size * 8 // 3 // 16) * 16,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
        }
        text = LlamaConfig(
            **sizes,
            vocab_size=len(tokenizer),
            max_position_embeddings=self.max_positions,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        vision = SiglipVisionConfig(
            **sizes, image_size=self.image_size, patch_size=self.patch_size, vision_use_head=False
        )
        config: Any = LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_id=tokenizer.convert_tokens_to_ids(PICTURE),  # type: ignore[call-arg]
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        )
        side = {"height": self.image_size, "width": self.image_size}
        processor = LlavaProcessor(
            SiglipImageProcessorPil(size=side),
            tokenizer,
            patch_size=self.patch_size,
            vision_feature_select_strategy="full",
            chat_template=CHAT_TEMPLATE,
        )
        with seeded(self.seed):
            return LlavaForConditionalGeneration(config), processor
