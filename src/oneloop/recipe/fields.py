"""What each field of a part holds, read from its annotation: another part, options of a class, or a value.

Three readers need it: the path of a fault (faults.py), `path=value` (overrides.py), and the recipe as text
(text.py).
"""

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from oneloop.core.part import Of, Options

Shape = Literal["one", "list", "names"]


@dataclasses.dataclass(frozen=True)
class FieldContent:
    """A part of `room`, options of `cls`, or (neither) a plain value; one, a list, or a mapping by name."""

    room: str = ""
    cls: type[Any] | None = None
    shape: Shape = "one"


def content_of(cls: type[Any] | None, name: str) -> FieldContent:
    """What field `name` of `cls` holds; a plain value when there is no such field."""
    return _content_of(hints(cls).get(name)) if cls is not None else FieldContent()


def hints(cls: type[Any]) -> Mapping[str, Any]:
    """{field: annotation} of the constructor fields of `cls`, with `Of` and `Options` marks."""
    try:
        return _hints(cls)  # type: ignore[arg-type]  # a class can be hashed
    except NameError:  # a class made inside a function
        return {}


@functools.lru_cache(maxsize=1024)  # annotations are evaluated anew at every call, and a recipe asks often
def _hints(cls: type[Any]) -> Mapping[str, Any]:
    found = get_type_hints(cls, include_extras=True)
    return types.MappingProxyType({name: found[name] for name in init_fields(cls)})


def init_fields(cls: type[Any]) -> list[str]:
    """Names of the options of `cls`."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _content_of(hint: Any, shape: Shape = "one") -> FieldContent:
    hint = without_none(hint)
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Of):
            return FieldContent(room=mark.room, shape=shape)
        if isinstance(mark, Options):
            return FieldContent(cls=mark.cls, shape=shape)
    if get_origin(hint) is Annotated:
        return _content_of(get_args(hint)[0], shape)
    if get_origin(hint) in (tuple, list):
        return _content_of(get_args(hint)[0], "list")
    if get_origin(hint) is dict:
        return _content_of(get_args(hint)[1], "names")
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return FieldContent(cls=hint, shape=shape)
    return FieldContent(shape=shape)


def without_none(hint: Any) -> Any:
    """`X` for `X | None`; every other hint as it is."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [choice for choice in get_args(hint) if choice is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def plain(hint: Any) -> Any:
    """`hint` without None and without marks and bounds."""
    hint = without_none(hint)
    return plain(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def inner(hint: Any, step: str | int) -> Any:
    """The annotation one step of a path further in; None where that is not known."""
    hint = plain(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hints(hint).get(str(step))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (tuple, list) and arguments:
        return arguments[0]
    return arguments[1] if origin is dict else None


def is_choice(hint: Any) -> bool:
    """Whether `hint` is a union of several types (None not counted)."""
    return get_origin(plain(hint)) in (Union, types.UnionType)
