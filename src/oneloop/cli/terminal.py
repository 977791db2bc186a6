"""What several commands share: the console, sentences on it, and recipes named on a command line."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oneloop.run.terminal import Terminal

# a command that reads no recipe, such as report, need not wait for what recipes are made of
if TYPE_CHECKING:
    from oneloop.recipe.recipe import Recipe

console = Terminal(width=None if sys.stdout and sys.stdout.isatty() else 120)


def say(sentence: str) -> None:
    """Prints `sentence` as it is: brackets are not markup, numbers are not coloured."""
    console.print(sentence, markup=False, highlight=False)


def recipes_and_overrides(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """(recipes, overrides) among the words of a command line: a `path=value` has a =, a file has not."""
    from oneloop.recipe.overrides import pair_up

    pairs = pair_up(list(words))
    return [Path(word) for word in pairs if "=" not in word], [word for word in pairs if "=" in word]


def load(source: Path | dict[str, object], overrides: Sequence[str]) -> "Recipe":
    """The recipe, after saying which names of other trainers were taken for which options."""
    from oneloop.recipe.recipe import load_recipe

    recipe, notes = load_recipe(source, overrides)
    for note in notes:
        say(f"accepted {note}")
    return recipe
