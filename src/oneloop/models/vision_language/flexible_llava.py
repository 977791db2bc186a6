"""A LLaVA changed into one that takes any n x n visual tokens a picture (TokenFLEX, arXiv 2504.03154).

Its projector is new: train it by a supervised phase first, with budgets drawn by the dress part
`draw_budget`. What a run saves is loaded by its folder, without this part.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from transformers import AutoModelForImageTextToText, AutoProcessor

from oneloop.core import hub
from oneloop.core.part import Of, part
from oneloop.models.flexible_vlm.llava import flexify
from oneloop.models.flexible_vlm.processor import flexible_processor
from oneloop.models.flexible_vlm.projector import side_of
from oneloop.models.seeded import Seed, seeded


@part(paper="arXiv 2504.03154")
class FlexibleLlava:
    """`model` with a projector for several numbers of visual tokens."""

    model: Annotated[Any, Of("vision_language_model", text=True)]
    """A LLaVA: hub name, folder, or a part such as {small_llava: {}}."""
    num_image_tokens: Annotated[int, Field(ge=1)] = 256
    """Visual tokens of a picture where nothing else is asked for: a square, best the largest trained."""
    pooling: Literal["resample", "adaptive"] = "resample"
    """How features are pooled: as in the released model, or by adaptive average pooling."""
    mlp_ratio: Annotated[int, Field(ge=1)] = 3
    """Width inside the projector over that of the vision tower."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        side_of(self.num_image_tokens)

    def build(self) -> tuple[Any, Any]:
        """(model, processor). Raises ValueError when the model cannot be loaded or is no LLaVA."""
        model: Any
        if isinstance(self.model, str):
            try:
                with hub.asked(self.model):
                    processor = AutoProcessor.from_pretrained(self.model, trust_remote_code=False)
                    model = AutoModelForImageTextToText.from_pretrained(self.model, trust_remote_code=False)
            except Exception as error:  # whatever a download or a damaged folder raises
                option = "policy.vision_language.model.flexible_llava.model"
                said = hub.why(self.model, error)
                raise ValueError(f"{option}: cannot load '{self.model}': {said}") from error
        else:
            model, processor = self.model.build()
        with seeded(self.seed):
            made = flexify(model, self.num_image_tokens, self.pooling, self.mlp_ratio)
        return made, flexible_processor(processor, self.num_image_tokens)
