"""A recipe as it was read: the same options, without what a run has put into its parts.

A plan keeps its piles, a judge what it learned, data the rows they have read: these belong to one run. So a
run trains a recipe of its own, and the one it was given stays as it was read.
"""

import dataclasses
from typing import Any, TypeVar

from oneloop.core.declared import is_part

Value = TypeVar("Value")


def anew(value: Value) -> Value:
    """`value` with every part in it made again from its options.

    A part that stands in two places is one part there, too. What is no part, such as a function or an object
    of your own class, stays the same object.
    """
    made: Value = _anew(value, {})
    return made


def _anew(value: Any, made: dict[int, Any]) -> Any:
    if type(value) in (tuple, list):
        items = [_anew(each, made) for each in value]
        changed = any(new is not old for new, old in zip(items, value, strict=True))
        return type(value)(items) if changed else value
    if type(value) is dict:
        entries = {key: _anew(each, made) for key, each in value.items()}
        return entries if any(entries[key] is not value[key] for key in value) else value
    if not is_part(type(value)):
        return value
    if id(value) not in made:
        options = [field.name for field in dataclasses.fields(value) if field.init]
        made[id(value)] = type(value)(**{name: _anew(getattr(value, name), made) for name in options})
    return made[id(value)]
