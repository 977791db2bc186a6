"""Parts: the small frozen classes a recipe names, validated by pydantic, and the fields that hold them.

A part is its own configuration: keyword-only fields `name: Annotated[type, Field(bounds)] = default`
with one line of meaning below each. Not here: how a name finds its part, and which kind a slot takes
(rooms.py); what a field holds (recipe/fields.py); faults in words (recipe/faults.py).
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, dataclass_transform, get_args, get_origin

import pydantic
from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, ValidationError, core_schema

from oneloop.core.configuration import CONFIGURATION
from oneloop.core.rooms import Misfit, UnknownName, build, find

PartType = TypeVar("PartType")
Columns = tuple[str, ...] | Callable[[Any], tuple[str, ...]]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def part(
    *, reads: Columns = (), writes: Columns = (), units: Columns = (), paper: str = ""
) -> Callable[[type[PartType]], type[PartType]]:
    """Makes a class a part: a frozen, keyword-only, validated dataclass with what a recipe must know of it.

    `reads` and `writes` are columns (`reward`, `actions.advantage`), or a function of the instance when
    they depend on options; `units` names the units accepted for log-probs and entropies (`nats`,
    `nats_per_dim`, `discrete`, `differential`; none = any); `paper` is its arXiv id or citation.
    """

    def decorate(cls: type[PartType]) -> type[PartType]:
        for name, annotation in cls.__dict__.get("__annotations__", {}).items():
            if _is_number(annotation):
                cls.__annotations__[name] = Annotated[annotation, BeforeValidator(_no_bool)]
        made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CONFIGURATION)(cls)
        _inherit_meanings(made)
        for name, value in {"reads": reads, "writes": writes, "units": units, "paper": paper}.items():
            setattr(made, f"part_{name}", value)
        return cast(type[PartType], made)

    return decorate


def _inherit_meanings(made: Any) -> None:
    """Gives options that a part takes over from another part the meaning they have there."""
    for base in made.__mro__[1:]:
        for name, field in vars(base).get("__pydantic_fields__", {}).items():
            mine = made.__pydantic_fields__[name]
            mine.description = mine.description or field.description


def _is_number(annotation: Any) -> bool:
    """Whether only numbers (or None) are meant."""
    if get_origin(annotation) is Annotated:
        return _is_number(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return all(_is_number(choice) or choice is type(None) for choice in get_args(annotation))
    return annotation in (int, float)


def _no_bool(value: Any) -> Any:
    """pydantic takes true for 1; someone who wrote `--groups` without a number did not mean 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("bool", "must be a number")
    return value


@dataclasses.dataclass(frozen=True)
class Options:
    """Marks a field that holds one certain class, written as a mapping of its options.

    `learner: Annotated[Learning, Options(Learning)]`
    """

    cls: type[Any]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-options": f"{self.cls.__module__}:{self.cls.__qualname__}"}

    def _validate(self, spec: Any) -> Any:
        if isinstance(spec, self.cls):
            return spec
        if not isinstance(spec, Mapping):
            raise PydanticCustomError("options", "must be a mapping of options")
        return _made(
            lambda: self.cls(**{str(key): value for key, value in spec.items()}), "", lambda: self.cls
        )


@dataclasses.dataclass(frozen=True)
class Of:
    """Marks a field that holds another part: `judge: Annotated[Judge, Of("judge")]`.

    With `text`, a plain text stands for itself (a model's name on the hub) and only a mapping names a part.
    """

    room: str
    text: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        named = {"x-part": self.room}
        return {"anyOf": [{"type": "string", "minLength": 1}, named]} if self.text else named

    def _validate(self, spec: Any) -> Any:
        if self.text and isinstance(spec, str) and spec:
            return spec
        name = str(next(iter(spec), "")) if isinstance(spec, Mapping) else spec
        return _made(lambda: build(self.room, spec), f".{name}", lambda: find(self.room, name))


def _made(make: Callable[[], Any], name: str, cls: Callable[[], type[Any]]) -> Any:
    """What `make` gives; whatever it raises becomes a fault that pydantic carries to the top.

    A part's own check may fail in any way (an overflow in a regular expression, say): that is said in words,
    because what led to it is the recipe. Inner faults travel whole; `faults` unfolds them with their path.
    """
    try:
        return make()
    except ValidationError as error:
        raise PydanticCustomError("part", "", {"error": error, "name": name, "cls": cls()}) from None
    except UnknownName as error:
        raise PydanticCustomError("unknown_part", "{text}", {"text": str(error)}) from None
    except Misfit as error:
        raise PydanticCustomError("misfit", "{text}", {"text": str(error)}) from None
    except (Exception, SystemExit) as error:  # sys.exit in it must not end the command, with code 0 say
        why = f"cannot be made: {type(error).__name__}: {error}"
        raise PydanticCustomError("broken_part", "{text}", {"text": why}) from error
