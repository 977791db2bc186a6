"""Prompts and demonstrations as token ids. Encoded once, going in; what the model wrote is never re-encoded.

A prompt is text (tokenised with its special tokens) or a list of chat messages (through the model's chat
template, ending where the assistant's turn begins). Not here: tool replies in the middle of a rollout.
"""

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

Prompt = str | list[dict[str, Any]]


class Prompts:
    """Encodes prompts with one tokenizer; equal prompts are encoded once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos: Collection[int]):
        self.tokenizer, self.eos = tokenizer, frozenset(eos)
        end = tokenizer.eos_token_id
        self.end = (min(self.eos),) if end is None and self.eos else () if end is None else (end,)
        self._encode = lru_cache(maxsize=65536)(self._encode_uncached)

    def encode(self, prompt: Prompt, where: str) -> tuple[int, ...]:
        """Token ids of `prompt`, one at least. Raises ValueError, naming `where`, for anything else."""
        ids = self._ids(prompt, where)
        if not ids:
            raise ValueError(f"{where}: 'prompt' is empty; a model needs one token at least to begin with")
        return ids

    def _ids(self, prompt: Prompt, where: str) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return self._encode(prompt, False)
        if not isinstance(prompt, list) or not all(isinstance(m, dict) and "role" in m for m in prompt):
            raise ValueError(
                f"{where}: 'prompt' must be text or a list of {{role, content}} messages, got {prompt!r}"
            )
        if not self.tokenizer.chat_template:
            raise ValueError(
                f"{where}: 'prompt' is a list of messages, but the model's tokenizer has no chat template"
            )
        return self._encode(json.dumps(prompt), True)

    def _encode_uncached(self, text: str, messages: bool) -> tuple[int, ...]:
        if messages:
            return self._chat(json.loads(text), add_generation_prompt=True)
        ids = self.tokenizer(text)["input_ids"]
        while ids and ids[-1] in self.eos and not text.endswith(str(self.tokenizer.decode(ids[-1]))):
            ids = ids[:-1]  # a tokenizer that closes every text with EOS would end the turn before it begins
        return tuple(ids)

    def _chat(self, messages: list[dict[str, Any]], add_generation_prompt: bool) -> tuple[int, ...]:
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def completion(self, prompt: Prompt, completion: Prompt, where: str) -> tuple[int, ...]:
        """Token ids of a demonstration, up to and with the end of the turn.

        Raises ValueError when the chat template writes the prompt differently once an answer follows
        (its ids must begin with the prompt's: training on other ids than are sampled is a silent error).
        """
        if isinstance(completion, str):
            if isinstance(prompt, str):
                ids = tuple(self.tokenizer(completion, add_special_tokens=False)["input_ids"])
                return ids if ids and ids[-1] in self.eos else (*ids, *self.end)
            completion = [{"role": "assistant", "content": completion}]
        if isinstance(prompt, str):
            raise ValueError(f"{where}: 'completion' is a list of messages, so 'prompt' must be one too")
        head, whole = (
            self.encode(prompt, where),
            self._chat([*prompt, *completion], add_generation_prompt=False),
        )
        if whole[: len(head)] != head:
            raise ValueError(
                f"{where}: the chat template writes the prompt differently when an answer follows it"
            )
        return self._until_end_of_turn(whole[len(head) :])

    def _until_end_of_turn(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Templates add a newline after the end of the turn; a sampled turn has none."""
        ends = [i for i, token in enumerate(ids) if token in self.eos]
        return ids[: ends[-1] + 1] if ends else (*ids, *self.end)
