"""A Hugging Face vision-language model that answers Yes or No about two images, differentiable in both.

    b pairs   L tokens   V vocabulary        log P(yes), log P(no): log-softmax of the next token, in fp32

Any AutoModelForImageTextToText with a chat template (Qwen2-VL, Qwen2.5-VL, SmolVLM, Idefics3 ...). Text goes
through the processor, pixels through pixel_map.py, which does to tensors what the processor does to pictures
and is checked against it when loaded. The weights are frozen; train them elsewhere (with any trainer of chat
models: two rows a pair, loss on the answer's token alone). Not supported: processors that tile images
depending on their contents.
"""

import importlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from oneloop.core import hub
from oneloop.core.part import part
from oneloop.models.flexible_vlm.projector import side_of
from oneloop.models.judges.pixel_map import PixelMap, resized

KEPT = 4096
"""Questions whose tokens are cached."""


@part(paper="arXiv 2508.21066")
class YesNoVlm:
    """A vision-language model by hub name or folder, its two answer words, and the size of its images."""

    name: Annotated[str, Field(min_length=1)]
    """Hub name or folder, such as Qwen/Qwen2.5-VL-3B-Instruct."""
    yes: Annotated[str, Field(min_length=1)] = "Yes"
    """The answer that the first image is better; must be one token."""
    no: Annotated[str, Field(min_length=1)] = "No"
    """The answer that the second image is better; must be one token."""
    image_size: Annotated[int, Field(ge=8)] = 448
    """Images are resized to this many pixels a side; the processor must keep that size (Qwen: 28 n)."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Precision of the frozen weights; log-probabilities are fp32."""
    checkpointing: bool = False
    """Whether activations are recomputed in the backward pass: less memory, more time."""
    num_image_tokens: Annotated[int, Field(ge=1)] | None = None
    """Visual tokens of an image, where the model takes several numbers of them; None: its own."""

    def build(self) -> "YesNoNetwork":
        """Loads the model. Raises ValueError when that fails, when an answer is not one token, or when it
        takes no other number of visual tokens than its own."""
        transformers: Any = importlib.import_module("transformers")
        try:
            with hub.asked(self.name):
                processor = transformers.AutoProcessor.from_pretrained(self.name, trust_remote_code=False)
                model = transformers.AutoModelForImageTextToText.from_pretrained(
                    self.name, dtype=getattr(torch, self.dtype), trust_remote_code=False
                )
        except Exception as error:  # whatever a download or a damaged folder raises
            said = hub.why(self.name, error)
            raise ValueError(f"models.yes_no_vlm.name: cannot load '{self.name}': {said}") from error
        return YesNoNetwork(self, model, processor)


class YesNoNetwork(nn.Module):
    """The model, its processor, and the differentiable copy of the processor's pixel operations."""

    def __init__(self, options: YesNoVlm, model: Any, processor: Any):
        super().__init__()
        self.options, self.model, self.processor = options, model, processor
        self.words = [answer_token(processor.tokenizer, word) for word in (options.yes, options.no)]
        if self.words[0] == self.words[1]:
            raise ValueError(f"yes and no are one token, {self.words[0]}: '{options.yes}', '{options.no}'")
        self._asked = asked_of(processor, options.num_image_tokens)
        if options.checkpointing:
            checkpoint_layers(model)
        self._read_once = lru_cache(KEPT)(self._read)
        blank = self._inputs("-", self._blanks)
        self.pixels = PixelMap(
            lambda pair, **options: self._inputs("-", list(pair), **options)["pixel_values"],
            processor.image_processor,
            options.image_size,
        )
        self.text_inputs = [
            name for name, value in blank.items() if value.shape[:2] == blank["input_ids"].shape
        ]

    @property
    def _blanks(self) -> list[np.ndarray]:
        return [np.zeros((self.options.image_size, self.options.image_size, 3), dtype=np.uint8)] * 2

    def _inputs(self, text: str, pair: list[np.ndarray], **options: Any) -> dict[str, Tensor]:
        said = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": text}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": said}], add_generation_prompt=True, tokenize=False
        )
        if "do_image_splitting" in getattr(self.processor.image_processor, "__dict__", {}):
            options["do_image_splitting"] = False
        given = {"images": [pair], "images_kwargs": options, "return_tensors": "pt", **self._asked}
        return dict(self.processor(text=[prompt], **given))

    def answers(self, first: Tensor, second: Tensor, questions: Sequence[Any]) -> Tensor:
        """[b, 2], log-probabilities of yes and no, of images [b, C, H, W] in [0, 1]; differentiable in
        both."""
        size = self.options.image_size
        pairs = torch.stack([resized(first, size), resized(second, size)], 1)
        device, dtype = first.device, getattr(torch, self.options.dtype)
        inputs = {
            name: value.to(device) for name, value in self._text([each.text for each in questions]).items()
        }
        pixels = self.pixels.to(device)(pairs).to(dtype)
        logits = self.model(**inputs, pixel_values=pixels, logits_to_keep=1, use_cache=False).logits[:, -1]
        law: Tensor = logits.float().log_softmax(-1)
        return law[:, self.words]

    def _text(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """All model inputs but pixels, padded on the left; the latest questions are cached."""
        rows = [self._read_once(text) for text in texts]
        longest = max(row["input_ids"].shape[1] for row in rows)
        fill = {"input_ids": self.processor.tokenizer.pad_token_id or 0}
        return {
            name: torch.cat([padded(row[name], longest, fill.get(name, 0)) for row in rows])
            if name in self.text_inputs
            else torch.cat([row[name] for row in rows])
            for name in rows[0]
        }

    def _read(self, text: str) -> dict[str, Tensor]:
        inputs = self._inputs(text, self._blanks)
        return {name: value for name, value in inputs.items() if name != "pixel_values"}


def asked_of(processor: Any, count: int | None) -> dict[str, int]:
    """What a call of the processor says of `count` visual tokens. Raises ValueError where it takes none."""
    if count is None:
        return {}
    if not hasattr(processor, "num_image_tokens"):
        raise ValueError(
            f"models.yes_no_vlm.num_image_tokens: got {count}, but the model has one number of visual tokens "
            "only; {flexible_llava: {model: ...}} makes a LLaVA that takes several"
        )
    side_of(count)
    return {"num_image_tokens": count}


def checkpoint_layers(model: nn.Module) -> None:
    """Turns on recomputation of every layer of `model` in the backward pass, in eval mode too.

    Raises ValueError for a model without such layers.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"models.yes_no_vlm.checkpointing: {type(model).__name__} has no layers that can be computed "
            "again; set it to false"
        )
    for layer in layers:  # transformers' own switch works in training mode alone, and a judge is in eval mode
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]


def padded(row: Tensor, length: int, fill: int) -> Tensor:
    """`row` [1, L] with `fill` before it, [1, length]."""
    return torch.cat([row.new_full((1, length - row.shape[1]), fill), row], 1)


def answer_token(tokenizer: Any, word: str) -> int:
    """The token id of a one-token answer. Raises ValueError for a word of several tokens, or of none."""
    ids = tokenizer.encode(word, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(
            f"models.yes_no_vlm: the answer '{word}' must be one token of the model, got {len(ids)}: {ids}; "
            f"write a word that is one, such as Yes and No"
        )
    return int(ids[0])
