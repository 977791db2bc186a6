"""The processor of a flexible LLaVA: as many placeholders for a picture as the call asks for."""

from typing import Any

import torch
from transformers import AutoProcessor, LlavaProcessor

from oneloop.models.flexible_vlm.asked import ASKED, asking
from oneloop.models.flexible_vlm.llava import FlexibleLlavaConfig
from oneloop.models.flexible_vlm.projector import side_of


class FlexibleLlavaProcessor(LlavaProcessor):
    """LLaVA's, whose calls take `num_image_tokens`, and give it to the model, one for each picture."""

    def __init__(  # transformers reads from the names which parts a processor has
        self, image_processor: Any = None, tokenizer: Any = None, num_image_tokens: int = 256, **options: Any
    ):
        super().__init__(image_processor, tokenizer, **options)
        side_of(num_image_tokens)
        self.num_image_tokens = num_image_tokens

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        *others: Any,
        num_image_tokens: int | None = None,
        **options: Any,
    ) -> Any:
        """As LLaVA's, with `num_image_tokens` (int64 [pictures]) for the model.

        Raises ValueError for a number that is no square.
        """
        count = self.num_image_tokens if num_image_tokens is None else num_image_tokens
        side_of(count)
        with asking(count):
            made = super().__call__(images, text, *others, **options)
        if "pixel_values" in made:
            made["num_image_tokens"] = torch.full((len(made["pixel_values"]),), count)
        return made

    def replace_image_token(self, image_inputs: Any, image_idx: int, **options: Any) -> str:
        """The placeholders of one picture."""
        asked = ASKED.get()
        return str(self.image_token) * (asked if isinstance(asked, int) else self.num_image_tokens)


def flexible_processor(processor: LlavaProcessor, num_image_tokens: int = 256) -> FlexibleLlavaProcessor:
    """A processor for the flexible form of the model that `processor` is of."""
    return FlexibleLlavaProcessor(
        processor.image_processor,
        processor.tokenizer,
        patch_size=processor.patch_size,
        vision_feature_select_strategy=processor.vision_feature_select_strategy,
        num_additional_image_tokens=processor.num_additional_image_tokens,
        chat_template=processor.chat_template,
        image_token=processor.image_token,
        num_image_tokens=num_image_tokens,
    )


AutoProcessor.register(FlexibleLlavaConfig, FlexibleLlavaProcessor)
