"""Chat messages as the text that a model's chat template makes of them; every fault is a sentence.

Messages that end in an assistant's turn are a prefill: the text ends where that turn does, still open. Parts
of text (`[{type: text, text: ...}]`) are joined. Sentences do not name the data row: prompts.py puts it in
front.
Not here: images in messages (../pictures), sound, token ids (prompts.py).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, Any]]
NOTHING: Mapping[str, Any] = {}
MARK = "An answer"
"""An answer that is looked for in what a template writes."""


def checked_messages(prompt: Any) -> Messages:
    """`prompt` as messages of role and text. Raises ValueError naming the message at fault."""
    if not isinstance(prompt, list) or not prompt or not all(isinstance(turn, Mapping) for turn in prompt):
        raise ValueError(
            f"'prompt' must be text or a list of {{role, content}} messages, got {prompt!r:.200}"
        )
    return [_message(dict(turn), f"message {number} of 'prompt'") for number, turn in enumerate(prompt, 1)]


def _message(turn: dict[str, Any], what: str) -> dict[str, Any]:
    role, content = turn.get("role"), turn.get("content")
    if not isinstance(role, str) or not role:
        raise ValueError(f"{what} has no role (user, system, assistant ...): {turn!r:.200}")
    if content is None and turn.get("tool_calls"):
        return turn
    if content is None:
        raise ValueError(f"{what} (role {role}) has no content: {turn!r:.200}")
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"{what} (role {role}) has parts that are not text; a language policy reads text"
            )
        return turn | {"content": "".join(map(str, texts))}
    if not isinstance(content, str):
        raise ValueError(f"{what} (role {role}): content must be text, got {content!r:.200}")
    return turn


def is_prefill(messages: Messages) -> bool:
    """Whether the model is to go on with the last turn instead of beginning one."""
    return messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")


def row_options(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a data row gives its template: the columns `tools` and `chat_template_kwargs`, where it has them.

    Tools are schemas, as a list or as JSON text. Raises ValueError for anything else.
    """
    tools, options = _parsed(row, "tools"), _parsed(row, "chat_template_kwargs") or {}
    if tools and not (isinstance(tools, list) and all(isinstance(tool, Mapping) for tool in tools)):
        raise ValueError(
            f"column 'tools' must be a list of schemas {{type, function}}, got {tools!r:.200}; "
            "rename the column if it means something else"
        )
    if not isinstance(options, Mapping):
        raise ValueError(f"column 'chat_template_kwargs' must be a mapping, got {options!r:.200}")
    given: dict[str, Any] = _without_none({**options, **({"tools": tools} if tools else {})})
    return given


def _parsed(row: Mapping[str, Any], column: str) -> Any:
    value = row.get(column)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except ValueError as error:
        raise ValueError(f"column '{column}' is text that is not JSON ({error}): {value!r:.200}") from None


def _without_none(value: Any) -> Any:
    """A table gives every schema every key; those that are None are not there."""
    if isinstance(value, Mapping):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


class ChatTemplate:
    """The chat template of `tokenizer`, with `options` for its own variables (Qwen3: enable_thinking)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]):
        self.tokenizer, self.options = tokenizer, dict(options)

    def text(self, messages: Messages, options: Mapping[str, Any], answered: bool = False) -> str:
        """The text of `messages`, ending where the assistant's turn begins, or goes on, unless `answered`.

        `options` are those of one row and stand above the policy's. Raises ValueError: the model has no
        template, the template refuses the messages, or it has no place for an option.
        """
        if not self.tokenizer.chat_template:
            raise ValueError("'prompt' is a list of messages, but the model's tokenizer has no chat template")
        given = {**self.options, **options}
        self.check(given)
        going_on = is_prefill(messages) and not answered
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=not going_on and not answered,
                    continue_final_message=going_on,
                    **given,
                )
            )
        except (
            Exception
        ) as error:  # a template raises in its own words, or because a type is not what it expects
            raise ValueError(f"the model's chat template refuses the messages: {error}") from error

    def unwritten_opening(self, messages: Messages) -> str:
        """What stands before an answer to `messages`, and not at the end of the prompt that asks for it.

        "" where the prompt ends as the answer begins. Raises ValueError as `text` does.
        """
        if is_prefill(messages):
            return ""
        answer = [*messages, {"role": "assistant", "content": MARK}]
        asked, answered = self.text(messages, NOTHING), self.text(answer, NOTHING, answered=True)
        if MARK not in answered or not answered.startswith(asked):
            return ""
        return answered[len(asked) : answered.index(MARK)].strip()

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises ValueError for the first of `given` that the template never mentions."""
        chosen = getattr(self.tokenizer, "get_chat_template", None)  # a processor has one template only
        template = str(chosen(None, given.get("tools")) if chosen else self.tokenizer.chat_template)
        for name in given:
            if not re.search(rf"\b{re.escape(name)}\b", template):
                what = "the column 'tools'" if name == "tools" else f"'{name}' of chat_template_kwargs"
                raise ValueError(f"the model's chat template has no place for {what}; leave it out")
