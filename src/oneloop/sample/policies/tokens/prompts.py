"""Prompts and demonstrations as token ids. Encoded once, going in; what the model wrote is never re-encoded.

A prompt is text or a list of chat messages (chat.py). The ids are the same whichever way it is written:
text gets what the tokenizer puts in front of a text (BOS) once, also where it begins with that already, and
nothing that closes one. Not here: tool replies in the middle of a rollout.
"""

import json
import re
import warnings
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from oneloop.sample.policies.tokens.chat import (
    NOTHING,
    ChatTemplate,
    Messages,
    checked_messages,
    is_prefill,
    row_options,
)
from oneloop.sample.policies.tokens.packing import Prompt
from oneloop.sample.policies.tokens.turn_tokens import TurnTokens

Said = str | Messages
KEPT = 1024
"""Prompts whose ids are kept: those of a batch. Ids of all prompts of long data would fill the memory."""
CHARACTERS = 64
"""Characters a token, above which the beginning of a text tells whether the text is too long."""


class Prompts:
    """Encodes prompts with one tokenizer; equal prompts of a batch are encoded once.

    template_options: values for variables of the chat template. embeddings: how many tokens the model has
    embeddings for; window: how many it reads. None: not checked.
    """

    never: frozenset[int] = frozenset()
    """Tokens that stand for something else than text, so that no rollout may hold them."""

    pictures: ClassVar[bool] = False
    """Whether pictures of data rows are read too."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        eos: Collection[int],
        template_options: Mapping[str, Any] = NOTHING,
        embeddings: int | None = None,
        window: int | None = None,
    ):
        self.tokenizer, self.eos, self.embeddings = tokenizer, frozenset(eos), embeddings
        self.window = window
        self.template = ChatTemplate(tokenizer, template_options)
        self.turn_tokens = TurnTokens(tokenizer, self.eos, self.template)
        end = tokenizer.eos_token_id
        self.end = (min(self.eos),) if end is None and self.eos else () if end is None else (end,)
        self._of_text = lru_cache(maxsize=KEPT)(self._text_ids)
        self._of_chat = lru_cache(maxsize=KEPT)(self._chat_ids)

    def read(self, prompt: Said, where: str, row: Mapping[str, Any] = NOTHING) -> Prompt:
        """What a sequence begins with that answers `prompt`: as `encode`, with the pictures it shows."""
        return Prompt(self.encode(prompt, where, row))

    def encode(self, prompt: Said, where: str, row: Mapping[str, Any] = NOTHING) -> tuple[int, ...]:
        """Token ids of `prompt`, one at least. `row`: its data row, for `tools` and `chat_template_kwargs`.

        Raises ValueError, naming `where`, for what is no prompt and for what tokenizer or template refuse.
        """
        try:
            return self._prompt(prompt, row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def completion(
        self, prompt: Said, completion: Said, where: str, row: Mapping[str, Any] = NOTHING
    ) -> tuple[int, ...]:
        """Token ids of a demonstration, up to and with the end of the turn.

        Raises ValueError, naming `where`, when the chat template writes the prompt differently once an answer
        follows: its ids must begin with the prompt's, because training on other ids than are sampled is a
        silent error.
        """
        try:
            return self._completion(prompt, completion, row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _prompt(self, prompt: Said, row: Mapping[str, Any]) -> tuple[int, ...]:
        if isinstance(prompt, str):
            if row.get("tools"):
                warnings.warn(  # one text always, so that it is said once
                    "the data has a column 'tools', but its prompts are text, to which no chat template is "
                    "applied: the model sees the tools only where the text names them",
                    stacklevel=2,
                )
            ids = self._of_text(prompt)
        else:
            ids = self._of_chat(_written(checked_messages(prompt), row_options(row)))
        if not ids:
            raise ValueError("'prompt' is empty; a model needs one token at least to begin with")
        return ids

    def _text_ids(self, text: str) -> tuple[int, ...]:
        self._check_length(text)
        whole, plain = self._tokenised(text, True), self._tokenised(text, False)
        if not plain:
            while whole and whole[-1] in self.eos:  # the end of an empty text is no beginning
                whole = whole[:-1]
            return whole
        spare = len(whole) - len(plain)
        fronts = [whole[:size] for size in range(spare + 1) if whole[size : size + len(plain)] == plain]
        if not fronts:
            return whole
        return plain if plain[: len(fronts[0])] == fronts[0] else (*fronts[0], *plain)

    def _chat_ids(self, written: str) -> tuple[int, ...]:
        return self._turns_ids(*json.loads(written))

    def _turns_ids(
        self, messages: Messages, options: Mapping[str, Any], answered: bool = False
    ) -> tuple[int, ...]:
        """Ids of what the template writes; the text of a turn token within a message stays text."""
        held = self.turn_tokens.held(messages)
        text = self.template.text(
            self.turn_tokens.marked(messages) if held else messages, options, answered=answered
        )
        if not answered:
            self._check_length(text)
        return self.turn_tokens.ids(text) if held else self._tokenised(text, False)

    def _check_length(self, text: str) -> None:
        """Refuses a text that is clearly longer than the model reads, at the cost of its beginning."""
        if self.window is None or len(text) <= CHARACTERS * self.window:
            return
        count = len(self._tokenised(text[: CHARACTERS * self.window], False))
        if count > 2 * self.window:  # what is cut off changes the last few tokens of the beginning at most
            raise ValueError(
                f"the prompt of {len(text)} characters has more than {count} tokens, but the model reads at "
                f"most {self.window}; leave out long prompts, or take another model"
            )

    def _tokenised(self, text: str, special: bool) -> tuple[int, ...]:
        try:
            ids = tuple(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        except Exception as error:  # tokenizers without an unknown token raise their own
            raise ValueError(self._unreadable(text, error)) from error
        if self.embeddings is not None and (missing := [token for token in ids if token >= self.embeddings]):
            name = self.tokenizer.convert_ids_to_tokens(missing[0])
            raise ValueError(
                f"the tokenizer writes the token {name!r} as number {missing[0]}, but the model has "
                f"embeddings for {self.embeddings} tokens; resize_token_embeddings was forgotten"
            )
        return ids

    def _unreadable(self, text: str, error: Exception) -> str:
        whole = "|".join(map(re.escape, self.tokenizer.get_added_vocab()))
        for character in dict.fromkeys(re.sub(whole, "", text)):
            try:
                self.tokenizer(character, add_special_tokens=False)
            except Exception:
                return f"the model's tokenizer has no token for the character {character!r} of {text!r:.80}"
        return f"the model's tokenizer cannot encode {text!r:.80}: {error}"

    def _completion(self, prompt: Said, completion: Said, row: Mapping[str, Any]) -> tuple[int, ...]:
        if isinstance(prompt, str):
            if not isinstance(completion, str):
                raise ValueError("'completion' is a list of messages, so 'prompt' must be one too")
            ids = self._tokenised(completion, False)
            return ids if ids and ids[-1] in self.eos else (*ids, *self.end)
        if isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        turns, head = _answered(checked_messages(prompt), completion), self._prompt(prompt, row)
        last = turns[-1].get("content")
        if isinstance(last, str):
            turns = [*turns[:-1], {**turns[-1], "content": self.turn_tokens.without_end(last)}]
        whole = self._turns_ids(turns, row_options(row), answered=True)
        if whole[: len(head)] != head:
            raise ValueError("the chat template writes the prompt differently when an answer follows it")
        return self._until_end_of_turn(whole[len(head) :])

    def _until_end_of_turn(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Templates add a newline after the end of the turn; a sampled turn has none."""
        ends = [i for i, token in enumerate(ids) if token in self.eos]
        return ids[: ends[-1] + 1] if ends else (*ids, *self.end)


def _answered(prompt: Messages, completion: Messages) -> Messages:
    """All turns; a completion that goes on with the prompt's last turn is one turn with it."""
    if not is_prefill(prompt):
        return [*prompt, *completion]
    content = f"{prompt[-1]['content']}{completion[0].get('content') or ''}"
    return [*prompt[:-1], {**prompt[-1], **completion[0], "content": content}, *completion[1:]]


def _written(messages: Messages, options: Mapping[str, Any]) -> str:
    """Both as one text, by which equal prompts are known."""
    try:
        return json.dumps([messages, options])
    except (TypeError, ValueError) as error:
        raise ValueError(f"'prompt' holds what no chat template can write: {error}") from error
