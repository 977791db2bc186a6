"""A LLaVA whose projector makes any n x n tokens of a picture: transformers' own, with another projector.

`num_image_tokens` of a call is one number, or one for each picture, so that prompts of different budgets
share a batch. What is asked of one call is forgotten when it ends. transformers compares the
numbers of features and placeholders.
"""

from typing import Any, Literal

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaModel,
)

from oneloop.models.flexible_vlm.asked import ASKED, Count, asking
from oneloop.models.flexible_vlm.projector import TokenAdaptiveProjector, side_of


class FlexibleLlavaConfig(LlavaConfig):
    """Configuration of `FlexibleLlavaForConditionalGeneration`."""

    model_type = "flexible_llava"
    num_image_tokens: int = 256
    """Tokens of a picture where a call asks for no other number; a square."""
    projector_pooling: Literal["resample", "adaptive"] = "resample"
    """How features are pooled; a model must be used as it was trained."""
    projector_mlp_ratio: int = 3
    """Width inside the projector over that of the vision tower."""


class FlexibleProjector(nn.Module):
    """Gives each picture the number of tokens that the running call asks for."""

    def __init__(self, config: FlexibleLlavaConfig):
        super().__init__()
        layers = config.vision_feature_layer
        several = 1 if isinstance(layers, int) else len(layers)
        self.adaptive = TokenAdaptiveProjector(
            config.vision_config.hidden_size * several,  # type: ignore[union-attr]
            config.text_config.hidden_size,  # type: ignore[union-attr]
            config.num_image_tokens,
            config.projector_mlp_ratio,
            config.projector_pooling,
            config.multimodal_projector_bias,
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        """[N_i, D] for each of `features` [B, L, C]. Raises ValueError for counts that do not fit."""
        asked = ASKED.get()
        if not isinstance(asked, Tensor):
            return list(self.adaptive(features, asked))
        counts = asked.flatten().tolist()
        if len(counts) != len(features):
            raise ValueError(f"num_image_tokens: {len(counts)} numbers for {len(features)} pictures")
        made: dict[int, Tensor] = {}
        for count in sorted(set(counts)):  # pictures of one budget are projected together
            rows = [row for row, other in enumerate(counts) if other == count]
            made |= dict(zip(rows, self.adaptive(features[rows], int(count)), strict=True))
        return [made[row] for row in range(len(counts))]


class FlexibleLlavaModel(LlavaModel):
    """The model below the head."""

    config_class = FlexibleLlavaConfig

    def __init__(self, config: FlexibleLlavaConfig):
        super().__init__(config)
        self.multi_modal_projector: Any = FlexibleProjector(config)

    def get_image_features(self, *args: Any, num_image_tokens: Count = None, **options: Any) -> Any:
        """As LLaVA's; `pooler_output` is a list of [N_i, D]."""
        with asking(num_image_tokens):
            return super().get_image_features(*args, **options)

    def forward(self, *args: Any, num_image_tokens: Count = None, **options: Any) -> Any:
        """As LLaVA's, with `num_image_tokens` a picture."""
        with asking(num_image_tokens):
            return super().forward(*args, **options)


class FlexibleLlavaForConditionalGeneration(LlavaForConditionalGeneration):
    """A LLaVA whose calls, `generate` too, take `num_image_tokens`."""

    config_class = FlexibleLlavaConfig

    def __init__(self, config: FlexibleLlavaConfig):
        super().__init__(config)
        self.model = FlexibleLlavaModel(config)
        self.post_init()

    def get_image_features(self, *args: Any, num_image_tokens: Count = None, **options: Any) -> Any:
        """As LLaVA's; `pooler_output` is a list of [N_i, D]."""
        with asking(num_image_tokens):
            return super().get_image_features(*args, **options)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_image_tokens: Count = None,
        **kwargs: Any,
    ) -> Any:
        """As LLaVA's, with `num_image_tokens` a picture: a square, or int64 [pictures]."""
        # `generate` reads from these names what may be given
        with asking(num_image_tokens):
            return super().forward(
                input_ids=input_ids,
                pixel_values=pixel_values,
                attention_mask=attention_mask,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                labels=labels,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )


def flexify(
    model: LlavaForConditionalGeneration,
    num_image_tokens: int = 256,
    pooling: Literal["resample", "adaptive"] = "resample",
    mlp_ratio: int = 3,
) -> FlexibleLlavaForConditionalGeneration:
    """`model` itself with a new projector, which has to be trained; its class is changed.

    Raises ValueError for a model that is no LLaVA, and for a number of tokens that is no square.
    """
    if type(model) is not LlavaForConditionalGeneration:
        raise ValueError(
            f"flexify changes a LlavaForConditionalGeneration, got {type(model).__name__}; its projector "
            "must be the only thing between the vision tower and the language model"
        )
    side_of(num_image_tokens)
    kept = {name: value for name, value in model.config.to_dict().items() if name != "model_type"}
    config = FlexibleLlavaConfig(
        **kept,
        num_image_tokens=num_image_tokens,
        projector_pooling=pooling,
        projector_mlp_ratio=mlp_ratio,
    )
    # submodules go on with their own configurations, which the new one must share
    config.vision_config, config.text_config = model.config.vision_config, model.config.text_config
    weight: Any = model.get_input_embeddings().weight
    model.__class__, model.model.__class__ = FlexibleLlavaForConditionalGeneration, FlexibleLlavaModel  # type: ignore[assignment]
    model.config = model.model.config = config
    projector = FlexibleProjector(config).to(device=weight.device, dtype=weight.dtype)
    model.model.multi_modal_projector = projector  # type: ignore[assignment]
    return model  # type: ignore[return-value]


AutoConfig.register("flexible_llava", FlexibleLlavaConfig)
AutoModelForImageTextToText.register(FlexibleLlavaConfig, FlexibleLlavaForConditionalGeneration)
