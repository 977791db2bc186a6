"""The columns others write, made into our rows: `prompt`, `completion`, `answer`, and all the rest as it was.

    TRL         prompt (text or messages), completion, or messages, and free columns
    verl        data_source, prompt, ability, reward_model.ground_truth, extra_info
    OpenRLHF    any two columns, named by input_key and label_key

`completion` (the demonstration) is always text here; `prompt` stays text or a list of chat messages.
Left out: preference pairs (chosen, rejected), and demonstrations of several turns or with tool calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from oneloop.core.part import nearest


def check_columns(columns: Sequence[str], input_key: str | None, label_key: str | None, where: str) -> None:
    """Raises ValueError naming `where` and the columns there are, when rows cannot be made from `columns`."""
    there = ", ".join(columns) or "none"
    for option, key in (("input_key", input_key), ("label_key", label_key)):
        if key is not None and key not in columns:
            hint = nearest(key, list(columns))
            raise ValueError(
                f"{where}: {option} names a column '{key}' that is not there; {hint} (columns: {there})"
            )
    if input_key is None and not {"prompt", "messages"} & set(columns):
        raise ValueError(
            f"{where}: no column 'prompt' or 'messages' (columns: {there}); name yours with input_key"
        )


def as_row(
    raw: Mapping[str, Any], input_key: str | None, label_key: str | None, where: str
) -> dict[str, Any]:
    """The row a policy and judges read. Raises ValueError naming `where` when a value has another form."""
    row = dict(raw)
    if input_key is not None:
        row["prompt"] = raw[input_key]
    elif "prompt" not in raw:
        row["prompt"], row["completion"] = split_messages(raw["messages"], where)
    row["prompt"] = _prompt(row["prompt"], where)
    if row.get("completion") is not None:
        row["completion"] = _completion(row["completion"], where)
    if label_key is not None:
        row["answer"] = raw[label_key]
    elif "answer" not in raw and isinstance(raw.get("reward_model"), Mapping):
        row["answer"] = raw["reward_model"].get("ground_truth")
    return row


def split_messages(messages: Any, where: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(all turns before the last assistant's, that turn). What follows it is left out."""
    turns = _turns(messages, where)
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=0)
    if last == 0:
        roles = [turn["role"] for turn in turns]
        raise ValueError(f"{where}: messages need an assistant's turn after another one, got roles {roles}")
    return turns[:last], turns[last : last + 1]


def _turns(messages: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not all(
        isinstance(turn, Mapping) and "role" in turn for turn in messages
    ):
        raise ValueError(f"{where}: expected a list of messages with a role each, got {messages!r:.200}")
    # a table gives every message every key; templates take a key that is there for one that means something
    return [{key: value for key, value in turn.items() if value is not None} for turn in messages]


def _prompt(prompt: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(prompt, str):
        return prompt
    turns = _turns(prompt, where)
    if not turns:
        raise ValueError(f"{where}: the prompt has no messages")
    return turns


def _completion(completion: Any, where: str) -> str:
    if isinstance(completion, str):
        return completion
    turns = _turns(completion, where)
    if len(turns) != 1 or not isinstance(turns[0].get("content"), str) or "tool_calls" in turns[0]:
        raise ValueError(f"{where}: a completion is text or one turn of text, got {completion!r:.200}")
    return str(turns[0]["content"])
