"""Decide whether a prompt from the command line is plain text or a user message."""

from pathlib import Path

from oneloop.cli.terminal import say
from oneloop.core.protocols import DataDefaults, trait
from oneloop.recipe.recipe import load_recipe
from oneloop.sample.policies.tokens.loading import load_tokenizer


def as_message(asked: bool | None, folder: str, beside: Path | None) -> bool:
    """`asked` if given; else as the model's run was trained, or whether the model has a chat template.

    `beside`: the recipe of the run that wrote the model in `folder`. Prints a note when a template was found.
    """
    if asked is not None:
        return asked
    if beside is not None:
        phases = load_recipe(beside)[0].phases.values()
        return any(trait(phase.plan.data, DataDefaults, "chat") for phase in phases)
    if not load_tokenizer(folder).chat_template:
        return False
    say("prompts are a user's messages, written by the model's chat template (--no-chat: plain text)")
    return True
