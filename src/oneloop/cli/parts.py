"""`oneloop parts`: what a recipe can name, read from the parts themselves."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from oneloop.cli.terminal import console, say
from oneloop.core.rooms import ROOMS, UnknownName, find, names, nearest
from oneloop.recipe.catalogue import first_line, options_of, room_line


def parts(
    kind: Annotated[str, typer.Argument(help="A kind of part, such as credit; without it, all kinds.")] = "",
    name: Annotated[str, typer.Argument(help="A part, such as group_relative, or file.py:Class.")] = "",
) -> None:
    """List what a recipe can name: kinds of part, parts, and their options.

    Example: oneloop parts credit group_relative
    """
    if kind and kind not in ROOMS:
        raise UnknownName(f"no kind of part is called '{kind}'; {nearest(kind, list(ROOMS))}")
    if name:
        show_part(kind, find(kind, name), name)
    elif kind:
        rows = [(each, first_line(find(kind, each))) for each in names(kind)]
        console.print(_table(("name", "what it does"), rows))
        say(f"options of one: oneloop parts {kind} NAME")
    else:
        found = [(room, room_line(room), ", ".join(names(room))) for room in ROOMS]
        console.print(_table(("kind", "what it is", "parts"), found))
        say("one line a part: oneloop parts KIND")


def show_part(kind: str, cls: type[Any], name: str) -> None:
    """Prints what `cls` is, what it reads and writes, and its options with default and meaning."""
    say(f"{kind} part {name}: {' '.join(str(cls.__doc__).split())}")
    for what in ("reads", "writes"):
        columns = getattr(cls, f"part_{what}")
        if columns:
            say(f"{what}: {'depends on its options' if callable(columns) else ', '.join(columns)}")
    if cls.part_paper:  # type: ignore[attr-defined]
        say(f"paper: {cls.part_paper}")  # type: ignore[attr-defined]
    if rows := options_of(cls):
        console.print(_table(("option", "default", "meaning"), rows))


def _table(columns: tuple[str, ...], rows: list[Any]) -> Table:
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
