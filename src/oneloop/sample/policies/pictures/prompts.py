"""Prompts with pictures: token ids with a placeholder for each feature, and what the model reads of pixels.

    P tokens of a prompt

The model's own processor expands the placeholders and makes the pixels; this file gives it text with a place
for each picture, and keeps what the model takes. A picture's placeholders are context: no rollout and no
demonstration may hold them.
"""

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from oneloop.engines.features import Features
from oneloop.sample.policies.pictures.model import PictureModel
from oneloop.sample.policies.pictures.opened import FRAMES, opened
from oneloop.sample.policies.pictures.rows import marked_messages, marked_text
from oneloop.sample.policies.tokens.chat import NOTHING, ChatTemplate, Messages, is_prefill, row_options
from oneloop.sample.policies.tokens.packing import Prompt
from oneloop.sample.policies.tokens.prompts import Prompts, Said
from oneloop.sample.policies.tokens.turn_tokens import TurnTokens

KEPT = 256
"""Prompts whose pictures are kept read; a step that has more reads some of them again."""


class PicturePrompts(Prompts):
    """Encodes prompts, with the pictures of their data rows, by one processor. It warns once of frames that
    are not shown.

    model: what is asked about the model. template_options: values for variables of the chat template.
    count: visual tokens of a picture, for models that take several; None: the processor's own.
    Raises ValueError for a `count` that the model does not take.
    """

    pictures = True

    def __init__(
        self,
        processor: Any,
        model: PictureModel,
        template_options: Mapping[str, Any],
        eos: set[int],
        count: int | None = None,
    ):
        super().__init__(processor.tokenizer, eos, template_options, model.embeddings)
        self.processor, self.model, self.never = processor, model, model.placeholders
        if processor.chat_template:
            self.template = ChatTemplate(processor, template_options)
            self.turn_tokens = TurnTokens(processor.tokenizer, self.eos, self.template)
        self.count = count
        if count is not None:
            self._check_flexible(count)
        self._told = False
        self._read: OrderedDict[tuple[int, int, int | None], tuple[Any, Any, Prompt]] = OrderedDict()

    def options(self, count: int | None) -> dict[str, Any]:
        """How the processor is called for pictures of `count` visual tokens; None: its own number."""
        if count is None:
            return {"add_special_tokens": False, "return_tensors": "pt"}
        self._check_flexible(count)
        return {**self.options(None), "num_image_tokens": count}

    def _check_flexible(self, count: int) -> None:
        if not self.model.flexible:
            raise ValueError(
                f"{count} visual tokens were asked for, but the model has one number of them only; "
                "{flexible_llava: {model: ...}} makes a LLaVA that takes several"
            )

    def read(
        self, prompt: Said, where: str, row: Mapping[str, Any] = NOTHING, count: int | None = None
    ) -> Prompt:
        """See `Prompts.read`; a picture has `count` visual tokens.

        Raises ValueError, naming `where`, also for pictures that cannot be read, and where placeholders and
        features differ in number.
        """
        count = self.count if count is None else count
        key = (id(row), id(prompt), count)
        known = self._read.get(key)
        if known is not None and known[0] is row and known[1] is prompt:
            self._read.move_to_end(key)
            return known[2]
        try:
            made = self._made(prompt, row, count)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        self._read[key] = (row, prompt, made)
        if len(self._read) > KEPT:
            self._read.popitem(last=False)
        return made

    def encode(self, prompt: Said, where: str, row: Mapping[str, Any] = NOTHING) -> tuple[int, ...]:
        """See `Prompts.encode`; a picture is as many tokens as the model makes features of it."""
        return self.read(prompt, where, row).ids

    def _made(self, prompt: Said, row: Mapping[str, Any], count: int | None) -> Prompt:
        if isinstance(prompt, str):
            pieces, pictures = marked_text(prompt, self.processor.image_token, row)
            if not pictures:
                return Prompt(self._prompt(prompt, row))
            text = self.processor.image_token.join(pieces)
            plain, whole = self._tokenised(text, False), self._text_ids(text)
            ids, features = self._processed(text, pictures, count)
            return Prompt((*whole[: len(whole) - len(plain)], *ids), features)
        turns, pictures = marked_messages(self._turns(prompt), row)
        self._check_turns(turns)
        text = self.template.text(turns, row_options(row))
        if not pictures:
            return Prompt(self._tokenised(text, False))
        return Prompt(*self._processed(text, pictures, count))

    def _check_turns(self, turns: Messages) -> None:
        if held := self.turn_tokens.held(turns):  # a processor writes pictures and text at once
            raise ValueError(
                f"a message holds the text {held!r}, which is a token that this model's turns are made of; "
                "take it out of the data"
            )

    def _processed(
        self, text: str, pictures: list[Any], count: int | None
    ) -> tuple[tuple[int, ...], Features]:
        """(token ids with placeholders, features) of `text` with a mark for each of `pictures`."""
        options = self.options(count)
        images = [opened(picture, f"picture {number}") for number, picture in enumerate(pictures, 1)]
        if not self._told and any(image.info[FRAMES] > 1 for image in images):
            self._told = True
            warnings.warn("a picture has several frames or pages; the first of them is shown", stacklevel=2)
        try:
            made = self.processor(text=[text], images=images, **options)
        except Exception as error:  # whatever a processor does with a picture it was not made for
            raise ValueError(
                f"the model's processor refuses the prompt with its pictures: {error}"
            ) from error
        ids = tuple(int(token) for token in made["input_ids"][0])
        inputs = {name: made[name] for name in made if name in self.model.takes}
        positions = self.model.positions(made)
        features = Features(fingerprint(inputs), inputs, positions, self.model.nested(inputs, len(images)))
        self.model.check(ids, features)
        return ids, features

    @staticmethod
    def _turns(prompt: Any) -> Messages:
        if isinstance(prompt, list) and prompt and all(isinstance(turn, Mapping) for turn in prompt):
            for number, turn in enumerate(prompt, 1):
                if not isinstance(turn.get("role"), str):
                    raise ValueError(f"message {number} of 'prompt' has no role: {turn!r:.200}")
            return [dict(turn) for turn in prompt]
        raise ValueError(
            f"'prompt' must be text or a list of {{role, content}} messages, got {prompt!r:.200}"
        )

    def _completion(self, prompt: Said, completion: Said, row: Mapping[str, Any]) -> tuple[int, ...]:
        ids = self._answer(prompt, completion, row)
        if held := self.never & set(ids):
            mark = self.tokenizer.convert_ids_to_tokens(min(held))
            raise ValueError(f"'completion' holds {mark!r}, which stands for a picture; an answer is text")
        return ids

    def _answer(self, prompt: Said, completion: Said, row: Mapping[str, Any]) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return super()._completion(prompt, completion, row)
        turns, _ = marked_messages(self._turns(prompt), row)
        answer = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
        answered, _ = marked_messages([dict(turn) for turn in answer], NOTHING)
        for part in answered[-1]["content"] or ():
            if part["type"] == "text":
                part["text"] = self.turn_tokens.without_end(part["text"])
        self._check_turns(answered)
        options = row_options(row)
        head = self.template.text(turns, options)
        if is_prefill(turns):
            parts = [*turns[-1]["content"], *answered[0]["content"]]
            answered, turns = [{**turns[-1], "content": parts}], turns[:-1]
        whole = self.template.text([*turns, *answered], options, answered=True)
        if not whole.startswith(head):
            raise ValueError("the chat template writes the prompt differently when an answer follows it")
        return self._until_end_of_turn(self._tokenised(whole[len(head) :], False))


def fingerprint(inputs: Mapping[str, Tensor]) -> str:
    """Equal for equal inputs, and practically never for others."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(inputs):
        value = inputs[name].contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.view(torch.uint8).numpy().data if value.ndim else bytes(value.numpy().data))
    return digest.hexdigest()
