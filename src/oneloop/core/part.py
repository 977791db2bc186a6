"""Parts: the small frozen classes a recipe names, found by file, validated by pydantic.

A part is its own configuration: keyword-only fields `name: Annotated[type, Field(bounds)] = default`
with one line of meaning below each. `oneloop/credit/novelty.py` holds `class Novelty`; a recipe calls it
`novelty`. A user's own part is reached by a dotted path (`package.module.Class`) or `file.py:Class`.
Not here: what a field holds (fields.py), faults in words (faults.py).
"""

import ast
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, dataclass_transform, get_args, get_origin

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, ValidationError, core_schema

PartType = TypeVar("PartType")
CONFIGURATION = ConfigDict(
    extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True, allow_inf_nan=False
)
Columns = tuple[str, ...] | Callable[[Any], tuple[str, ...]]
ROOMS = {
    "data": "sample.data",
    "count": "sample.plan.count",
    "dress": "sample.plan.dress",
    "keep": "sample.plan.keep",
    "policy": "sample.policies",
    "judge": "judge",
    "credit": "credit",
    "select": "select",
    "objective": "update.objective",
    "language_model": "models.language",
    "flow_model": "models.flow",
    "judge_model": "models.judges",
}
"""The kinds of part and the folder of `oneloop` that holds each."""
FILE_MODULE = "oneloop_user_file_"
SHOWN = 20
"""So many names are listed to someone whose name is like none of them."""


class UnknownName(ValueError):
    """A recipe names a part that does not exist; the message has the nearest names."""


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
        for name, value in {"reads": reads, "writes": writes, "units": units, "paper": paper}.items():
            setattr(made, f"part_{name}", value)
        return cast(type[PartType], made)

    return decorate


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


def declared(instance: Any, what: str) -> tuple[str, ...]:
    """What `instance` declared as "reads", "writes" or "units"; () for a plain function or object."""
    value = getattr(type(instance), f"part_{what}", ())
    return tuple(value(instance) if callable(value) else value)


@cache
def names(room: str) -> list[str]:
    """Names of the parts of a room, one a file of its folder; found without importing them."""
    folder = Path(__file__).parent.parent.joinpath(*ROOMS[room].split("."))
    return [path.stem for path in sorted(folder.glob("*.py")) if _class_name(path)]


def _class_name(path: Path) -> str | None:
    """The class in `path` that is decorated with @part and called like the file."""
    wanted = path.stem.replace("_", "")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
            marks = [mark.func for mark in node.decorator_list if isinstance(mark, ast.Call)]
            if any(isinstance(mark, ast.Name) and mark.id == "part" for mark in marks):
                return node.name
    return None


def find(room: str, name: str) -> type[Any]:
    """The class called `name` in `room`, or a user's own by `package.module.Class` or `file.py:Class`.

    Raises UnknownName with the nearest names, or saying what is missing from the user's module.
    """
    kind = f"{_words(room)} part"
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        return _attribute(_load_file(Path(path)), attribute, name)
    if "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            return _attribute(importlib.import_module(module), attribute, name)
        except UnknownName:
            raise
        except Exception as error:  # whatever the user's module raises when imported
            why = f"{type(error).__name__}: {error}"
            raise UnknownName(f"cannot import '{module}' for the {kind} '{name}': {why}") from error
    if name not in names(room):
        elsewhere = [other for other in ROOMS if other != room and name in names(other)]
        hint = f"it is a {_words(elsewhere[0])} part" if elsewhere else nearest(name, names(room))
        raise UnknownName(f"no {kind} is called '{name[:80]}'; {hint}")
    there = importlib.import_module(f"oneloop.{ROOMS[room]}.{name}")
    return cast(type[Any], getattr(there, str(_class_name(Path(str(there.__file__))))))


def _words(room: str) -> str:
    """A room as people write it: language_model, a language model."""
    return room.replace("_", " ")


def nearest(name: str, known: list[str], also: list[str] | None = None) -> str:
    """A sentence that helps someone who typed `name` for one of `known` (or of `also`: never listed)."""
    close = difflib.get_close_matches(name, [*known, *(also or [])], n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"known: {', '.join(known[:SHOWN])}{more}"


def build(room: str, spec: Any) -> Any:
    """A part from what a recipe says: `name`, `{name: {option: value}}`, or an instance as it is.

    Raises UnknownName or pydantic's ValidationError.
    """
    kind = f"{_words(room)} part"
    if isinstance(spec, str):
        return find(room, spec)()
    if isinstance(spec, Mapping):
        if len(spec) != 1:
            keys = ", ".join(map(str, spec)) or "none"
            raise UnknownName(f"a {kind} is written 'name' or {{name: {{options}}}}, got keys {keys:.80}")
        name, options = next(iter(spec.items()))
        if options is not None and not isinstance(options, Mapping):
            raise UnknownName(f"options of {kind} '{name}' must be a mapping, got {options!r:.80}")
        return find(room, str(name))(**{str(key): value for key, value in (options or {}).items()})
    if inspect.isclass(spec) or type(spec).__module__ in ("builtins", "datetime") and not callable(spec):
        raise UnknownName(f"a {kind} is written 'name' or {{name: {{options}}}}, got {spec!r:.80}")
    return spec


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
    except Exception as error:
        why = f"cannot be made: {type(error).__name__}: {error}"
        raise PydanticCustomError("broken_part", "{text}", {"text": why}) from error


def name_of(cls: type[Any]) -> str:
    """The name by which a recipe finds `cls`."""
    package, _, module = cls.__module__.rpartition(".")
    if (
        package in {f"oneloop.{folder}" for folder in ROOMS.values()}
        and module.replace("_", "") == cls.__name__.lower()
    ):
        return module
    if cls.__module__.startswith(FILE_MODULE):
        return f"{inspect.getsourcefile(cls)}:{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UnknownName(f"no such file: {path} (a part of your own is written 'file.py:Class')")
    path = path.resolve()
    name = FILE_MODULE + path.with_suffix("").as_posix().strip("/").replace("/", "_").replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UnknownName(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _attribute(module: Any, attribute: str, name: str) -> type[Any]:
    found = getattr(module, attribute, None)
    if not inspect.isclass(found) or not hasattr(found, "part_reads"):
        known = [key for key, value in vars(module).items() if hasattr(value, "part_reads")]
        hint = nearest(attribute, known) if known else "it has no parts"
        raise UnknownName(f"'{name}': {attribute} is not a class decorated with @part; {hint}")
    return cast(type[Any], found)
