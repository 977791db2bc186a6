"""`oneloop copy`: copies a shipped recipe to a file of the user's."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from oneloop.cli.terminal import say
from oneloop.core.rooms import nearest
from oneloop.recipe.text import NoSuchRecipe, shipped


def copy(
    name: Annotated[str, typer.Argument(help="Name of a recipe that ships; `oneloop recipes` lists them.")],
    to: Annotated[
        Path | None, typer.Argument(help="The new file; the default is NAME.yaml in this folder.")
    ] = None,
) -> None:
    """Copy a recipe that ships to a file of your own, to edit it.

    Example: oneloop copy quickstart mine.yaml
    """
    known = shipped()
    if name not in known:
        raise NoSuchRecipe(f"no recipe that ships is called '{name}'; {nearest(name, list(known))}")
    to = to or Path(f"{name}.yaml")
    if to.is_dir():
        to = to / f"{name}.yaml"
    text = known[name].read_text(encoding="utf-8").replace(f"oneloop train {name}\n", f"oneloop train {to}\n")
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FileExistsError(f"{to} is there already and stays as it is; give another name") from None
    say(f"written: {to}. Edit it, then: oneloop train {quote(str(to))}")
