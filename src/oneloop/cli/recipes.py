"""`oneloop recipes`: the recipes that ship, a sentence each from their head comments, and what they need."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from oneloop.cli.terminal import console
from oneloop.recipe.needs import NEEDS
from oneloop.recipe.text import read, shipped


def recipes() -> None:
    """List the recipes that ship, with a sentence each and what they need that is not here.

    Example: oneloop recipes
    """
    table = Table("name", "what it does", "paper", box=None, header_style="bold", pad_edge=False)
    for name, path in shipped().items():
        table.add_row(name, escape(summary(path)), escape(str(read(path).get("paper", ""))))
    console.print(table)


def summary(path: Path) -> str:
    """What a shipped recipe does, in a sentence, and what it needs that is not here."""
    return about(path) + (f" Needs: {NEEDS[path.stem]}." if path.stem in NEEDS else "")


def about(path: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("# ")), len(lines))
    text = " ".join(line.removeprefix("# ").strip() for line in lines[:end])
    return text.split(". ")[0].split(".  ")[0].rstrip(".") + "."
