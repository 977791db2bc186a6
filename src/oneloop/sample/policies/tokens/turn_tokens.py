"""Tokens by which turns begin and end, where a message of the data holds their text: `<|im_end|>`.

Such a text is written as text, in the tokens of its letters, so that no message can end its own turn or open
another one. Tokens that only stand inside turns (`<think>`, `<|python_tag|>`) stay tokens.
"""

import re
from collections.abc import Collection
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from oneloop.sample.policies.tokens.chat import NOTHING, ChatTemplate, Messages

NAMED = ("bos_token", "eos_token", "pad_token")
FIRST_MARK = 0xF0000
"""The first of the characters for private use that stand for turn tokens while a template writes."""
ASKED: Messages = [{"role": "user", "content": "a"}]
ANSWERED: Messages = [*ASKED, {"role": "assistant", "content": "a"}]


class TurnTokens:
    """The turn tokens of a tokenizer: its own end and beginning, `eos`, and what its `template` writes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos: Collection[int], template: ChatTemplate):
        self.tokenizer, self.eos, self.template = tokenizer, eos, template

    @cached_property
    def _special(self) -> list[str]:
        """All special tokens, the longest first."""
        added = self.tokenizer.added_tokens_decoder.values()
        return sorted((token.content for token in added if token.special), key=len, reverse=True)

    @cached_property
    def ends(self) -> list[str]:
        """Tokens that end a turn."""
        ends = {self.tokenizer.convert_ids_to_tokens(token) for token in self.eos}
        return [token for token in self._special if token in ends]

    @cached_property
    def names(self) -> list[str]:
        """All turn tokens, the longest first."""
        written = ""
        for turns, answered in ((ASKED, False), (ANSWERED, True)):
            try:
                written += self.template.text(turns, NOTHING, answered)
            except ValueError:  # there is no template, or it wants other turns
                continue
        named = {*self.ends, *(getattr(self.tokenizer, name, None) for name in NAMED)}
        return [token for token in self._special if token in named or token in written]

    def held(self, messages: Messages) -> str:
        """The first turn token whose text a message holds; "" where there is none."""
        texts = [turn["content"] for turn in messages if isinstance(turn.get("content"), str)]
        texts += [
            str(part.get("text", ""))
            for turn in messages
            if isinstance(turn.get("content"), list)
            for part in turn["content"]
        ]
        return next((name for name in self.names for text in texts if name in text), "")

    def marked(self, messages: Messages) -> Messages:
        """Messages with one character in the place of each turn token."""
        turns = []
        for turn in messages:
            content = turn.get("content")
            if isinstance(content, str):
                for number, name in enumerate(self.names):
                    content = content.replace(name, chr(FIRST_MARK + number))
                turn = {**turn, "content": content}
            turns.append(turn)
        return turns

    def ids(self, marked: str) -> tuple[int, ...]:
        """Token ids of what a template made of `marked` messages.

        Raises ValueError where the tokenizer cannot write its turn tokens as text.
        """
        plain = self._with(marked, ["a" for _ in self.names])
        pieces = self._pieces(marked, self.names)
        # a tokenizer that writes a text otherwise at its beginning cannot be given it in pieces
        if self._pieces(plain, self.names) != self._whole(plain) or self._has_turns(marked, pieces):
            there = next(name for number, name in enumerate(self.names) if chr(FIRST_MARK + number) in marked)
            raise ValueError(
                f"a message holds the text {there!r}, which is a token that this model's turns are made of, "
                "and its tokenizer cannot write that as text; take it out of the data"
            )
        return pieces

    def without_end(self, text: str) -> str:
        """`text` without the token that ends a turn, where it ends in one: the template writes its own."""
        end = next((end for end in self.ends if text.endswith(end)), "")
        return text.removesuffix(end)

    def _with(self, marked: str, texts: list[str]) -> str:
        for number, text in enumerate(texts):
            marked = marked.replace(chr(FIRST_MARK + number), text)
        return marked

    def _whole(self, text: str, **options: Any) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False, **options)["input_ids"])

    def _pieces(self, marked: str, texts: list[str]) -> tuple[int, ...]:
        """Ids of special tokens and of what stands between them, marks being `texts`."""
        ids: list[int] = []
        for piece in re.split(f"({'|'.join(map(re.escape, self._special))})", marked):
            if piece in self._special:
                ids += self._whole(piece)
            elif piece:
                ids += self._whole(self._with(piece, texts), split_special_tokens=True)
        return tuple(ids)

    def _has_turns(self, marked: str, ids: tuple[int, ...]) -> bool:
        """Whether a turn token is among `ids` more often than the template wrote it."""
        for name in self.names:
            token = self.tokenizer.convert_tokens_to_ids(name)
            if ids.count(token) != len(re.findall(re.escape(name), marked)):
                return True
        return False
