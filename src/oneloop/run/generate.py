"""Texts of a model: completions of one prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from oneloop.recipe.faults import faults
from oneloop.recipe.reading import RecipeError, read_raw
from oneloop.run.checkpoint import locate
from oneloop.run.evaluation import held_out
from oneloop.sample.data.rows import Rows
from oneloop.sample.policies.language import Language


class Completion(NamedTuple):
    """A completion of a prompt by a model."""

    text: str
    whole: bool
    """Whether the text ended by itself, not at the token limit."""


def options_of(model: str, pictures: bool = False, **options: Any) -> Language:
    """Options of a policy for sampling only: of a vision-language policy where prompts show pictures, or
    where the model reads them. Raises RecipeError for invalid ones.
    """
    from oneloop.sample.policies.vision_language import VisionLanguage

    folder, beside = locate(model)
    kind = VisionLanguage if pictures or reads_pictures(folder, beside) else Language
    try:
        return kind(model=folder, **options)
    except ValidationError as error:
        raise RecipeError(faults(error, "sample", kind)) from None


def reads_pictures(model: str, recipe: Path | None) -> bool:
    """Whether the policy of `recipe`, or without one the model itself, is a vision-language one.

    Raises RecipeError for a file that is no recipe.
    """
    from oneloop.sample.policies.vision_language import of_pictures

    if recipe is None:
        return of_pictures(model)
    policy = read_raw(recipe)[0].get("policy")
    return policy == "vision_language" or (isinstance(policy, Mapping) and "vision_language" in policy)


def generate(
    model: str,
    prompt: str | Sequence[Mapping[str, Any]],
    count: int = 1,
    *,
    images: Sequence[Path] = (),
    seed: int = 0,
    **options: Any,
) -> list[Completion]:
    """`count` completions of `prompt`, a text or a list of {role, content} messages.

    `model`: a run directory, a checkpoint folder or a model name. `images`: pictures that the prompt shows.
    `options`: those of the policy (max_new_tokens, temperature, top_p, ...). Raises RecipeError for options
    it refuses, ValueError for a model that cannot be loaded and a picture that cannot be read.
    """
    row: dict[str, Any] = {"prompt": prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]}
    if images:
        row["images"] = [str(image) for image in images]
    policy = options_of(model, bool(images), **options).open()
    finished, _ = policy.sample(held_out(Rows(rows=[row]), 1, count, seed))
    return [
        Completion(text, status == "stop")
        for text, status in zip(finished.text, finished.status, strict=True)
    ]
