"""Texts of a model: completions of one prompt."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from oneloop.recipe.faults import faults
from oneloop.recipe.reading import RecipeError
from oneloop.run.checkpoint import locate
from oneloop.run.evaluation import held_out
from oneloop.sample.data.rows import Rows
from oneloop.sample.policies.language import Language


class Completion(NamedTuple):
    """A completion of a prompt by a model."""

    text: str
    whole: bool
    """Whether the text ended by itself, not at the token limit."""


def options_of(model: str, **options: Any) -> Language:
    """Options of a language policy for sampling only. Raises RecipeError for invalid ones."""
    try:
        return Language(model=locate(model)[0], **options)
    except ValidationError as error:
        raise RecipeError(faults(error, "sample", Language)) from None


def generate(
    model: str, prompt: str | Sequence[Mapping[str, Any]], count: int = 1, *, seed: int = 0, **options: Any
) -> list[Completion]:
    """`count` completions of `prompt`, a text or a list of {role, content} messages.

    `model`: a run directory, a checkpoint folder or a model name. `options`: those of the language policy
    (max_new_tokens, temperature, top_p, ...). Raises RecipeError for options it refuses, ValueError for a
    model that cannot be loaded.
    """
    policy = options_of(model, **options).open()
    asked = prompt if isinstance(prompt, str) else [dict(message) for message in prompt]
    finished, _ = policy.sample(held_out(Rows(rows=[{"prompt": asked}]), 1, count, seed))
    return [
        Completion(text, status == "stop")
        for text, status in zip(finished.text, finished.status, strict=True)
    ]
