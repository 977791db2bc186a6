"""What is known of a vision-language model: placeholders, inputs, positions, features.

A axes of positions   P tokens of a prompt
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from oneloop.engines.features import Features, together
from oneloop.sample.policies.tokens.forward import base_model

TEXT = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""Inputs that the engine and the learner lay out themselves."""
NAMES = ("image_token_id", "image_token_index", "video_token_id")


class PictureModel:
    """A model of transformers that reads pictures. On the meta device features are not counted.

    Raises ValueError for a model without placeholders for pictures.
    """

    def __init__(self, model: Any):
        self.whole = base_model(model)
        self.inner = self.whole.base_model
        config = self.whole.config
        known = (getattr(config, name, None) for name in NAMES)
        self.placeholders = frozenset(int(token) for token in known if token is not None)
        if not self.placeholders or not hasattr(self.whole, "get_image_features"):
            raise ValueError(
                f"{type(self.whole).__name__} says of no token that it stands for a picture; supported are "
                "models that put features of pictures in the place of tokens (LLaVA, Qwen-VL, Idefics3, "
                "InternVL ...)"
            )
        self.picture = next(
            int(token) for name in NAMES if (token := getattr(config, name, None)) is not None
        )
        self.embeddings = int(self.whole.get_input_embeddings().weight.shape[0])
        self.takes = set(inspect.signature(self.whole.forward).parameters) - TEXT
        self.flexible = "num_image_tokens" in self.takes
        self._counted: dict[Any, int] = {}

    def nested(self, inputs: Mapping[str, Tensor], pictures: int) -> bool:
        """Whether a processor gives the pictures of one prompt as [1, pictures, ...]: Idefics and SmolVLM."""
        pixels = inputs.get("pixel_values")
        return pixels is not None and pixels.ndim == 5 and "pixel_attention_mask" in inputs

    def positions(self, made: Mapping[str, Any]) -> Tensor | None:
        """int64 [A, P], for what a processor made of one prompt; None: the model counts 0, 1, 2 ..."""
        locate = getattr(self.inner, "get_rope_index", None)
        if locate is None:
            return None
        asked = set(inspect.signature(locate).parameters)
        given = {name: made[name] for name in made if name in asked and name != "attention_mask"}
        positions: Tensor = locate(**given)[0]
        return positions[:, 0]

    def check(self, ids: Sequence[int], features: Features) -> None:
        """Raises ValueError where placeholders among `ids` and features differ in number.

        Features are counted by the model itself, once for each shape of its inputs.
        """
        weight = next(self.whole.parameters())
        if weight.device.type == "meta":
            return
        placeholders = sum(token == self.picture for token in ids)
        made = self._features(features, weight)
        if made != placeholders:
            raise ValueError(
                f"the prompt has {placeholders} placeholders for pictures, but the model makes {made} "
                "features of them; the processor is of another model, or its options were changed"
            )

    @torch.inference_mode()
    def _features(self, features: Features, weight: Tensor) -> int:
        shapes = tuple((name, tuple(value.shape)) for name, value in features.inputs.items())
        sizes = {name: value for name, value in features.inputs.items() if value.ndim <= 2}
        whole = {name: value for name, value in sizes.items() if not value.is_floating_point()}
        small = tuple((name, tuple(value.flatten().tolist())) for name, value in whole.items())
        key = (shapes, small)
        if key not in self._counted:
            inputs = together([features], weight.device, weight.dtype)
            made = self.whole.get_image_features(**inputs)
            made = getattr(made, "pooler_output", made)
            pieces = list(made) if isinstance(made, list | tuple) else [made]
            self._counted[key] = sum(piece.numel() // piece.shape[-1] for piece in pieces)
        return self._counted[key]
