"""How a prompt from the command line is put to a model: plain text, or a user's message after a system's."""

from pathlib import Path
from typing import Any

from oneloop.cli.terminal import say
from oneloop.core.protocols import DataDefaults, trait
from oneloop.recipe.recipe import load_recipe
from oneloop.run.preflight import is_here
from oneloop.sample.data.columns import ColumnOptions
from oneloop.sample.policies.tokens.loading import load_tokenizer

LOOKED_AT = 8
"""Rows of training data whose system messages are compared."""


def manner(chat: bool | None, system: str | None, folder: str, beside: Path | None) -> ColumnOptions:
    """As `chat` and `system` ask; where they are None as the model's run was trained, or, for a model of
    others, as a user's message if it has a chat template. Says what was found.

    `beside`: the recipe of the run that wrote the model in `folder`. Raises ValueError for a system's
    message before plain text.
    """
    if system and chat is False:
        raise ValueError("a system message needs a conversation: leave out --system, or --no-chat")
    if chat is False:
        return ColumnOptions(chat=False)
    if beside is None:
        return ColumnOptions(chat=chat or bool(system) or _has_template(folder), system=system or "")
    trained = [phase.plan.data for phase in load_recipe(beside)[0].phases.values()]
    talks = chat or bool(system) or any(_messages(data) for data in trained)
    if talks and system is None and (found := _system(trained[-1])):
        say(f'prompts follow the system message of the training data (--system "": none): {found}')
        system = found
    return ColumnOptions(chat=talks, system=system or "")


def _has_template(folder: str) -> bool:
    found = bool(load_tokenizer(folder).chat_template)
    if found:
        say("prompts are a user's messages, written by the model's chat template (--no-chat: plain text)")
    return found


def _messages(data: Any) -> bool:
    """Whether prompts of `data` are messages: as it says itself, else as its first row is."""
    said = trait(data, DataDefaults, "chat")
    if said is not None or not is_here(data):
        return bool(said)
    return any(isinstance(prompt, list) for prompt in _prompts(data, 1))


def _system(data: Any) -> str:
    """The system's message that the first prompts of `data` have in common; empty: none."""
    if not is_here(data):
        return ""
    prompts = _prompts(data, LOOKED_AT)
    first = [prompt[0] if isinstance(prompt, list) else {} for prompt in prompts]
    said = [turn["content"] if turn.get("role") == "system" else "" for turn in first]
    alike = all(each == said[0] for each in said)
    return said[0] if said and alike and isinstance(said[0], str) else ""


def _prompts(data: Any, count: int) -> list[Any]:
    """The first prompts of `data`; none where it is no longer."""
    try:
        return [data[key]["prompt"] for key in range(min(count, len(data)))]
    except (ValueError, OSError):
        return []
