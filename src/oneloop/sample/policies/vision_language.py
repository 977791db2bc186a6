"""What a recipe says of a vision-language policy: a language policy whose prompts may show pictures."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

import oneloop.models.flexible_vlm  # noqa: F401 (so that transformers can load one)
from oneloop.core.part import Of, part
from oneloop.engines.turns import eos_ids
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.pictures.model import PictureModel
from oneloop.sample.policies.pictures.prompts import PicturePrompts
from oneloop.sample.policies.tokens.loading import Kind, load_config

if TYPE_CHECKING:
    from oneloop.sample.policies.pictures.policy import VisionLanguagePolicy

VISION_LANGUAGE = Kind(
    "policy.vision_language.model", AutoModelForImageTextToText, AutoProcessor, "a vision-language model"
)


def of_pictures(model: str) -> bool:
    """Whether the model, a hub name or a folder, is one that only a vision-language policy can load."""
    try:
        config = type(load_config(model, VISION_LANGUAGE))
    except ValueError:  # whoever loads it says what is wrong
        return False
    return config in AutoModelForImageTextToText._model_mapping and (
        config not in AutoModelForCausalLM._model_mapping
    )


@part(
    writes=(
        *("last", "status", "text", "shown", "actions.parent", "actions.version", "actions.logprob"),
        *("actions.token", "actions.span"),
    )
)
class VisionLanguage(Language):
    """Options of a vision-language policy; `open()` loads it. What is said of a language policy holds too."""

    kind: ClassVar[Kind] = VISION_LANGUAGE

    model: Annotated[Any, Of("vision_language_model", text=True)]
    """Hub name, folder, or a part of `models` such as {small_llava: {}}."""
    freeze_vision: bool = True
    """Whether the weights that read pixels stay as they are; the projector and the language model learn."""

    num_image_tokens: Annotated[int, Field(ge=1)] | None = None
    """Visual tokens of a picture, where the model takes several numbers of them; None: the model's own."""

    def open(self, weights: str | None = None) -> "VisionLanguagePolicy":
        """Loads `model`, or the one at `weights`, its adapters included. Raises ValueError."""
        from oneloop.sample.policies.pictures.policy import VisionLanguagePolicy  # it is made from these

        return VisionLanguagePolicy(self.holding(weights).settled())

    def prompts(self, model: Any, tokenizer: Any) -> PicturePrompts:
        """The prompt encoder for `model`, whose processor is `tokenizer`. Raises ValueError for a model that
        takes no pictures."""
        try:
            asked = PictureModel(model)
        except ValueError as error:
            raise ValueError(f"{self.kind.option}: {error}") from error
        eos = eos_ids(model, tokenizer.tokenizer)
        try:
            return PicturePrompts(tokenizer, asked, self.chat_template_kwargs, eos, self.num_image_tokens)
        except ValueError as error:
            option = self.kind.option.replace("model", "num_image_tokens")
            raise ValueError(f"{option}: {error}") from error
