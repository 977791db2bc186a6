"""Reads the body of an OpenAI-compatible chat completion.

Three outcomes: a text; a well-formed answer without a usable text (empty, cut off, filtered, refused), which
is the failure of that one question; and something that is no chat completion, which is the server's failure.
"""

import json
from dataclasses import dataclass
from typing import Any

from oneloop.core.text import one_line

UNUSABLE = {
    "length": "the reply was cut off at max_tokens",
    "content_filter": "the reply was stopped by the server's content filter",
    "tool_calls": "the reply calls a tool instead of answering",
    "function_call": "the reply calls a function instead of answering",
}
"""Values of finish_reason with which a reply is not used, in words."""


@dataclass(frozen=True)
class ChatAnswer:
    """One well-formed answer: `text`, or the reason why it has no usable one in `error`."""

    text: str | None
    error: str | None
    sent: int
    """Prompt tokens the server counted; 0 where it says nothing."""
    received: int
    """Completion tokens the server counted, reasoning included; 0 where it says nothing."""


class NoCompletion(ValueError):
    """The body is no chat completion. `status` is the HTTP status it reports inside, if it reports one."""

    def __init__(self, words: str, status: int | None = None):
        super().__init__(words)
        self.status = status


def read_completion(body: bytes) -> ChatAnswer:
    """The answer in `body`. Raises NoCompletion for anything that is no chat completion."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise NoCompletion(f"no chat completion: {one_line(body[:200].decode(errors='replace'))!r}") from None
    if not isinstance(answer, dict):
        raise NoCompletion(f"no chat completion: {one_line(str(answer)[:200])!r}")
    if answer.get("error"):
        raise _reported(answer["error"])
    choices = answer.get("choices")
    if not isinstance(choices, list):
        raise NoCompletion(f"no chat completion: {one_line(body[:200].decode(errors='replace'))!r}")
    sent, received = counted(answer.get("usage"))
    choice = choices[0] if choices else None
    text, error = _usable(choice if isinstance(choice, dict) else {})
    return ChatAnswer(text, error, sent, received)


def _reported(error: Any) -> NoCompletion:
    """Some gateways answer 200 with an error inside, whose `code` is the status they mean."""
    told = error if isinstance(error, dict) else {"message": error}
    code = str(told.get("code"))
    status = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else 400
    return NoCompletion(f"an error: {one_line(str(told.get('message') or told))}", status)


def _usable(choice: dict[str, Any]) -> tuple[str | None, str | None]:
    """(text, None) or (None, why there is none)."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason in UNUSABLE:
        return None, UNUSABLE[reason]
    text = said(message.get("content"))
    if text.strip():
        return text, None
    if isinstance(message.get("refusal"), str):
        return None, f"the model refused: {one_line(message['refusal'])!r}"
    thought = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    return None, f"the reply has no text{', only reasoning' if thought else ''}"


def said(content: Any) -> str:
    """The text of a message's `content`: a string, or a list of parts of which those of type text count.

    Lone surrogates, which cannot be stored, become question marks.
    """
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""


def counted(usage: Any) -> tuple[int, int]:
    """(prompt tokens, completion tokens) of a `usage` object; 0 for what is no count."""
    usage = usage if isinstance(usage, dict) else {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    sent, received = (count if isinstance(count, int) and 0 < count < 2**62 else 0 for count in counts)
    return sent, received
