"""TokenFLEX (arXiv 2504.03154): a LLaVA that takes n x n visual tokens a picture, n chosen at each call.

`flexify` changes a LLaVA of transformers. Once this package is imported, transformers' Auto classes load what
was saved.
"""

from oneloop.models.flexible_vlm.collator import FlexVisionCollator
from oneloop.models.flexible_vlm.llava import (
    FlexibleLlavaConfig,
    FlexibleLlavaForConditionalGeneration,
    flexify,
)
from oneloop.models.flexible_vlm.loss import square_average_loss
from oneloop.models.flexible_vlm.processor import FlexibleLlavaProcessor, flexible_processor
from oneloop.models.flexible_vlm.projector import TokenAdaptiveProjector

__all__ = [
    "FlexVisionCollator",
    "FlexibleLlavaForConditionalGeneration",
    "FlexibleLlavaConfig",
    "FlexibleLlavaProcessor",
    "TokenAdaptiveProjector",
    "flexible_processor",
    "flexify",
    "square_average_loss",
]
