"""Options of a command that are the fields of a class, so that each is stated once, where it is used."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields
from functools import partial, update_wrapper
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import ParameterInfo

from oneloop.recipe.fields import plain


def fields_of(
    cls: type[Any], without: Iterable[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates `command(make, ...)`: the fields of `cls` become parameters in the place of `make`.

    The command is called with `make`, which makes a `cls` of the values given; it takes further fields by
    name. A field annotated with a typer parameter is that parameter; another one is an option whose help is
    its docstring.
    """
    taken = [field for field in fields(cls) if field.init and field.name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            make: Callable[..., Any] = cls
            own = {field.name: given.pop(field.name) for field in taken}
            command(partial(make, **own), **given)

        hints = get_type_hints(cls, include_extras=True)
        first = [_parameter(cls, field, hints[field.name]) for field in taken]
        own_hints = get_type_hints(command, include_extras=True)
        rest = [
            each.replace(annotation=own_hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for each in list(inspect.signature(command).parameters.values())[1:]
        ]
        called.__signature__ = inspect.Signature([*first, *rest])  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in [*first, *rest]}
        return update_wrapper(called, command, assigned=("__module__", "__name__", "__doc__"))

    return decorate


def _parameter(cls: type[Any], field: "Field[Any]", hint: Any) -> inspect.Parameter:
    if not any(isinstance(mark, ParameterInfo) for mark in get_args(hint)):
        described = getattr(cls, "__pydantic_fields__", {})[field.name].description
        hint = Annotated[plain(hint), typer.Option(help=described)]
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
