"""Data rows from columns of other trainers: `prompt`, `completion`, `answer`, and all other columns
unchanged.

    TRL         prompt (text or messages), completion, or messages, and free columns
    verl        data_source, prompt, ability, reward_model.ground_truth, extra_info
    OpenRLHF    any columns, named by input_key, label_key and completion_key

`completion` (the demonstration) is always text here; `prompt` stays text or a list of chat messages, unless
`chat` makes messages of text. Left out: preference pairs (chosen, rejected), and demonstrations of several
turns or with tool calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oneloop.core.rooms import nearest

LISTS = ("prompt", "messages", "completion", "answer", "tools")
"""Columns that may hold lists."""
Row = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True)
class ColumnOptions:
    """How to make rows from columns: options that the data parts `hub` and `rows` share."""

    input_key: str | None = None
    """Column that holds the prompt; None: `prompt`, or else `messages`."""
    label_key: str | None = None
    """Column that holds the right answer; None: `answer`, or else `reward_model.ground_truth`."""
    completion_key: str | None = None
    """Column that holds the demonstration; None: `completion`, or else the last turn of `messages`."""
    chat: bool | None = None
    """True: a text prompt becomes a user message. False: messages are refused. None: both stay as they
    are."""
    system: str = ""
    """System message that begins every conversation; empty: none."""

    def __post_init__(self) -> None:
        if self.system and self.chat is False:
            raise ValueError("a system message needs a conversation: leave out system, or chat: false")

    def check(self, columns: Sequence[str], where: str) -> None:
        """Raises ValueError, naming `where` and `columns`, when rows cannot be made from these columns."""
        there = ", ".join(columns) or "none"
        for option in ("input_key", "label_key", "completion_key"):
            key = getattr(self, option)
            if key is not None and key not in columns:
                hint = nearest(key, list(columns))
                raise ValueError(
                    f"{where}: {option} names a column '{key}' that is not there; {hint} (columns: {there})"
                )
        if self.input_key is None and not {"prompt", "messages"} & set(columns):
            raise ValueError(
                f"{where}: no column 'prompt' or 'messages' (columns: {there}); name yours with input_key"
            )

    def row(self, raw: Mapping[str, Any], where: str) -> Row:
        """The row for policy and judges, from `raw`. Raises ValueError, naming `where`, for a malformed
        value.
        """
        # a list in a table of pandas is an array
        raw = {
            name: value.tolist() if name in LISTS and is_array(value) else value
            for name, value in raw.items()
        }
        row = dict(raw)
        if self.input_key is not None:
            row["prompt"] = raw[self.input_key]
        elif raw.get("prompt") is None and raw.get("messages") is not None:
            row["prompt"], row["completion"] = split_messages(raw["messages"], where)
        row["prompt"] = self.prompt(row.get("prompt"), where)
        if self.completion_key is not None:
            row["completion"] = raw[self.completion_key]
        if row.get("completion") is not None:
            row["completion"] = _completion(row["completion"], where)
        if self.label_key is not None:
            row["answer"] = raw[self.label_key]
        elif raw.get("answer") is None and isinstance(raw.get("reward_model"), Mapping):
            row["answer"] = raw["reward_model"].get("ground_truth")
        return row

    def prompt(self, prompt: Any, where: str) -> str | list[Message]:
        """`prompt` as text or messages. Raises ValueError, naming `where`, when it is neither."""
        if prompt is None:
            column = self.input_key or "prompt"
            raise ValueError(f"{where}: there is no prompt (column '{column}' is empty)")
        if not isinstance(prompt, str | list):
            kind = type(prompt).__name__
            raise ValueError(f"{where}: a prompt is text or a list of messages, got {prompt!r:.80} ({kind})")
        if isinstance(prompt, list) and prompt and all(isinstance(item, int) for item in prompt):
            raise ValueError(
                f"{where}: the prompt is a list of {len(prompt)} token ids ({prompt[0]}, ...), which belong "
                "to one tokenizer; give the text or the messages they were made of (input_key names the "
                "column that holds them)"
            )
        if isinstance(prompt, str) and not (self.chat or self.system):
            return prompt
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _turns(prompt, where)
        if self.chat is False:
            raise ValueError(f"{where}: the prompt is a list of messages, but chat is false")
        if not turns:
            raise ValueError(f"{where}: the prompt has no messages")
        return self._with_system(turns, where)

    def _with_system(self, turns: list[Message], where: str) -> list[Message]:
        if not self.system:
            return turns
        if turns[0]["role"] in ("system", "developer"):
            raise ValueError(
                f"{where}: the prompt begins with a system message of its own; leave out `system`"
            )
        return [{"role": "system", "content": self.system}, *turns]


def is_array(value: Any) -> bool:
    """Whether `value` is an array of one dimension."""
    return isinstance(value, np.ndarray) and value.ndim == 1


def split_messages(messages: Any, where: str) -> tuple[list[Message], list[Message]]:
    """(the turns before the last assistant turn, that turn); turns after it are dropped."""
    turns = _turns(messages, where)
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=0)
    if last == 0:
        roles = [turn["role"] for turn in turns]
        raise ValueError(f"{where}: messages need an assistant's turn after another one, got roles {roles}")
    return turns[:last], turns[last : last + 1]


def _turns(messages: Any, where: str) -> list[Message]:
    if not isinstance(messages, list) or not all(
        isinstance(turn, Mapping) and isinstance(turn.get("role"), str) for turn in messages
    ):
        said = f"{where}: expected a list of messages with a role each, got {messages!r:.200}"
        if (
            isinstance(messages, list)
            and messages
            and all(isinstance(turn, Mapping) and "value" in turn for turn in messages)
        ):
            said += "; write {from, value} of ShareGPT as {role: user or assistant, content}"
        raise ValueError(said)
    # a table gives every message every key; templates take a key that is there for one that means something
    turns = [{key: value for key, value in turn.items() if value is not None} for turn in messages]
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn.get("content"), str | list) and not turn.get("tool_calls"):
            raise ValueError(
                f"{where}: message {number} of {len(turns)} (role '{turn['role']}') needs a content that is "
                f"text or a list of parts, got {turn.get('content')!r:.80}"
            )
    return turns


def _completion(completion: Any, where: str) -> str:
    if isinstance(completion, str):
        return completion
    turns = _turns(completion, where) if isinstance(completion, list) else []
    if len(turns) != 1 or not isinstance(turns[0].get("content"), str) or "tool_calls" in turns[0]:
        raise ValueError(f"{where}: a completion is text or one turn of text, got {completion!r:.200}")
    return str(turns[0]["content"])
