"""What is said of each kind of part, each part and each option, read from the parts themselves."""

import importlib
from typing import Any

import yaml

from oneloop.core.rooms import ROOMS
from oneloop.recipe.fields import init_fields
from oneloop.recipe.text import to_recipe


def room_line(room: str) -> str:
    """What the folder of a kind of part answers: the first sentence of its docstring."""
    said = str(importlib.import_module(f"oneloop.{ROOMS[room].folder}").__doc__).split("\n\n")[0]
    return " ".join(said.split()).split(" Protocol:")[0]


def first_line(cls: type[Any]) -> str:
    """The first sentence of a class's docstring."""
    return " ".join(str(cls.__doc__).split("\n\n")[0].split())


def options_of(cls: type[Any]) -> list[tuple[str, str, str]]:
    """(option, default, meaning) of each option of a part, in the order written."""
    rows = []
    for name in init_fields(cls):
        field = cls.__pydantic_fields__[name]  # type: ignore[attr-defined]
        rows.append((name, default_of(field), " ".join((field.description or "").split())))
    return rows


def default_of(field: Any) -> str:
    """The default of a pydantic field, as a recipe writes it."""
    if field.is_required():
        return "required"
    value = to_recipe(field.get_default(call_default_factory=True))
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("...\n").strip()
