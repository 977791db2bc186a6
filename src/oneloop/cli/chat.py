"""Decide whether a prompt from the command line is plain text or a user message."""

from pathlib import Path
from typing import Any

from oneloop.cli.terminal import say
from oneloop.core.protocols import DataDefaults, trait
from oneloop.recipe.recipe import load_recipe
from oneloop.run.preflight import is_here
from oneloop.sample.policies.tokens.loading import load_tokenizer


def as_message(asked: bool | None, folder: str, beside: Path | None) -> bool:
    """`asked` if given; else as the model's run was trained, or whether the model has a chat template.

    `beside`: the recipe of the run that wrote the model in `folder`. Prints a note when a template was found.
    """
    if asked is not None:
        return asked
    if beside is not None:
        return any(_messages(phase.plan.data) for phase in load_recipe(beside)[0].phases.values())
    if not load_tokenizer(folder).chat_template:
        return False
    say("prompts are a user's messages, written by the model's chat template (--no-chat: plain text)")
    return True


def _messages(data: Any) -> bool:
    """Whether prompts of `data` are messages: as it says itself, else as its first row is."""
    said = trait(data, DataDefaults, "chat")
    if said is not None or not is_here(data):
        return bool(said)
    try:
        return isinstance(data[0]["prompt"], list)
    except (ValueError, OSError):  # it is no longer where it was
        return False
