"""Whether prompts that are held out are trained on too: then a score says what was remembered as well.

Two seeds of a small task pose the same questions by chance, and a file may have been split by hand. Prompts
are compared by their hashes. Of data sets with more rows than `LOOKED_AT` so many are looked at, evenly
spread, so that what is found is a lower bound. Pictures are left out: captions repeat by design.
"""

from collections.abc import Iterator

import numpy as np

from oneloop.core.identity import identity
from oneloop.core.protocols import Data
from oneloop.recipe.recipe import Recipe
from oneloop.sample.data.held_out import PICTURES, question

LOOKED_AT = 2000
"""Training rows of each phase that are looked at."""


def overlap(recipe: Recipe) -> str:
    """The sentence about held-out prompts that occur in training, or are few; "" where there is none.

    Raises NothingHeldOut when `evaluate.held_out` leaves nothing to evaluate on.
    """
    spec = recipe.evaluate
    if spec is None:
        return ""
    if spec.held_out:  # trained on is what has another prompt
        few = len(spec.asked) < spec.size
        return (
            f"{len(spec.asked)} prompts of evaluate.data are held out, of {spec.size} asked for"
            if few
            else ""
        )
    held_out = set(_prompts(spec.data, range(min(spec.size, len(spec.data)))))
    trained, looked_at = set[str](), 0
    for phase in recipe.phases.values():
        data = phase.plan.data
        keys = np.unique(np.linspace(0, len(data) - 1, min(LOOKED_AT, len(data))).astype(np.int64)).tolist()
        trained.update(_prompts(data, keys))
        looked_at += len(keys)
    if not (both := len(held_out & trained)):
        return ""
    return (
        f"{both} of the {len(held_out)} different held-out prompts occur among the {looked_at} training rows "
        "looked at too: held-out scores say what was remembered as well as what was understood"
    )


def _prompts(data: Data, keys: range | list[int]) -> Iterator[str]:
    """Hashes of the prompts of rows that can be read and have no picture."""
    for key in keys:
        try:
            row = data[key]
        except ValueError:  # a bad row is named elsewhere
            continue
        if not any(name in row for name in PICTURES) and row.get("prompt") is not None:
            yield identity(question(row))
