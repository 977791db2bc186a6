"""Batches for training a flexible LLaVA with any trainer: one drawn number of visual tokens a batch.

b samples   L tokens, padded on the right        labels: -100 but on the answers
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from oneloop.core.budgets import BudgetSampler
from oneloop.models.flexible_vlm.loss import IGNORED


class FlexVisionCollator:
    """Makes a batch of samples {text, answer, images}.

    `text` has the processor's image token for each of `images` (a list of Pillow pictures); `answer` is
    what follows it and is learned, its end token included. `sampler` draws the budget of each batch; its
    state belongs into checkpoints. `longest`: tokens the model reads at most.
    """

    def __init__(self, processor: Any, sampler: BudgetSampler, longest: int | None = None):
        self.processor, self.sampler, self.longest = processor, sampler, longest

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """input_ids, attention_mask, labels [b, L]; pixel_values and num_image_tokens [pictures].

        Raises ValueError naming the sample whose pictures and places differ in number, or that is too long.
        """
        count = self.sampler.next()
        tokenizer = self.processor.tokenizer
        ids, labels, pixels = [], [], []
        for number, sample in enumerate(samples):
            prompt = self._prompt(sample, f"sample {number}", count)
            answer = tokenizer(sample["answer"], add_special_tokens=False)["input_ids"]
            answer = torch.tensor([*answer, tokenizer.eos_token_id])
            ids.append(torch.cat([prompt["input_ids"][0], answer]))
            labels.append(torch.cat([torch.full_like(prompt["input_ids"][0], IGNORED), answer]))
            pixels += [prompt["pixel_values"]] if "pixel_values" in prompt else []
            self._check_length(len(ids[-1]), len(sample.get("images") or ()), count, f"sample {number}")
        padded = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id or 0)
        mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        made = {"input_ids": padded, "attention_mask": mask}
        made["labels"] = pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        if pixels:
            made["pixel_values"] = torch.cat(pixels)
            made["num_image_tokens"] = torch.full((len(made["pixel_values"]),), count)
        return made

    def _prompt(self, sample: Mapping[str, Any], where: str, count: int) -> Any:
        images, mark = list(sample.get("images") or ()), self.processor.image_token
        places = sample["text"].count(mark)
        if places != len(images):
            raise ValueError(f"{where}: the text has {places} places {mark} for {len(images)} pictures")
        options = {"add_special_tokens": False, "return_tensors": "pt"}
        if not images:
            return self.processor.tokenizer([sample["text"]], **options)
        return self.processor(images=images, text=[sample["text"]], num_image_tokens=count, **options)

    def _check_length(self, length: int, pictures: int, count: int, where: str) -> None:
        if self.longest is None or length <= self.longest:
            return
        room = max(self.longest - length + pictures * count, 0) // max(pictures, 1)
        side = int(room**0.5)
        fits = f"{side * side} tokens a picture would fit" if side else "not even one token a picture fits"
        raise ValueError(
            f"{where}: {length} tokens with {count} a picture, but the model reads {self.longest}; {fits}"
        )
