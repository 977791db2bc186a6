"""Parts: the small frozen classes a recipe names, found by file, validated by pydantic.

A part is its own configuration: keyword-only fields `name: Annotated[type, Field(bounds)] = default`
with one line of meaning below each. `oneloop/credit/novelty.py` holds `class Novelty`; a recipe calls it
`novelty`. A user's own part is reached by a dotted path (`package.module.Class`) or `file.py:Class`.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, ValidationError, core_schema

PartType = TypeVar("PartType")
CONFIGURATION = ConfigDict(extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True)
Columns = tuple[str, ...] | Callable[[Any], tuple[str, ...]]


class UnknownName(ValueError):
    """A recipe names a part that does not exist; the message has the nearest names."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def part(
    *, reads: Columns = (), writes: Columns = (), units: tuple[str, ...] = (), paper: str = ""
) -> Callable[[type[PartType]], type[PartType]]:
    """Makes a class a part: a frozen, keyword-only, validated dataclass with what a recipe must know of it.

    `reads` and `writes` are columns (`reward`, `actions.advantage`), or a function of the instance when
    they depend on options; `units` names the units accepted for log-probs and entropies (`nats`,
    `nats_per_dim`, `discrete`, `differential`; none = any); `paper` is its arXiv id or citation.
    """

    def decorate(cls: type[PartType]) -> type[PartType]:
        made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CONFIGURATION)(cls)
        for name, value in {"reads": reads, "writes": writes, "units": units, "paper": paper}.items():
            setattr(made, f"part_{name}", value)
        return made

    return decorate


def declared(instance: Any, what: str) -> tuple[str, ...]:
    """What `instance` declared as "reads", "writes" or "units"; () for a plain function or object."""
    value = getattr(type(instance), f"part_{what}", ())
    return tuple(value(instance) if callable(value) else value)


def names(room: str) -> list[str]:
    """Names of the parts in `oneloop/<room>/`, one a file."""
    package = importlib.import_module(f"oneloop.{room}")
    found = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(
        name for name in found if _class_in(importlib.import_module(f"oneloop.{room}.{name}"), name)
    )


def find(room: str, name: str) -> type[Any]:
    """The class called `name` in `room`, or a user's own by `package.module.Class` or `file.py:Class`.

    Raises UnknownName with the nearest names, or saying what is missing from the user's module.
    """
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        return _attribute(_load_file(Path(path)), attribute, name)
    if "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            return _attribute(importlib.import_module(module), attribute, name)
        except ModuleNotFoundError as error:
            raise UnknownName(f"cannot import '{module}' for the {room} part '{name}': {error}") from error
    if name not in (known := names(room)):
        elsewhere = [other for other in ROOMS if other != room and name in names(other)]
        hint = f"it is a {elsewhere[0]} part" if elsewhere else nearest(name, known)
        raise UnknownName(f"no {room} part is called '{name}'; {hint}")
    return cast(type[Any], _class_in(importlib.import_module(f"oneloop.{room}.{name}"), name))


ROOMS = ("data", "plan", "policies", "judge", "credit", "select", "objective", "models")


def nearest(name: str, known: list[str]) -> str:
    """A sentence that helps someone who typed `name` for one of `known`."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def build(room: str, spec: Any) -> Any:
    """A part from what a recipe says: `name`, `{name: {option: value}}`, or an instance as it is.

    Raises UnknownName or pydantic's ValidationError.
    """
    if isinstance(spec, str):
        return find(room, spec)()
    if isinstance(spec, Mapping):
        if len(spec) != 1:
            raise UnknownName(
                f"a {room} part is written 'name' or {{name: {{options}}}}, got keys {list(spec)}"
            )
        name, options = next(iter(spec.items()))
        if options is not None and not isinstance(options, Mapping):
            raise UnknownName(f"options of {room} part '{name}' must be a mapping, got {options!r}")
        return find(room, str(name))(**{str(key): value for key, value in (options or {}).items()})
    if spec is None or isinstance(spec, bool | int | float | list | tuple):
        raise UnknownName(f"a {room} part is written 'name' or {{name: {{options}}}}, got {spec!r}")
    return spec


@dataclasses.dataclass(frozen=True)
class Options:
    """Marks a field that holds one certain class, written as a mapping: `learner: Annotated[Learning, Options(Learning)]`."""

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
        try:
            return self.cls(**{str(key): value for key, value in spec.items()})
        except ValidationError as error:
            raise PydanticCustomError("part", "", {"error": error, "name": "", "cls": self.cls}) from None


@dataclasses.dataclass(frozen=True)
class Of:
    """Marks a field that holds another part: `judge: Annotated[Judge, Of("judge")]`."""

    room: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-part": self.room}

    def _validate(self, spec: Any) -> Any:
        try:
            return build(self.room, spec)
        except ValidationError as error:
            name = next(iter(spec)) if isinstance(spec, Mapping) else spec
            # the inner faults travel whole; `faults` unfolds them with their path
            inner = {"error": error, "name": f".{name}", "cls": find(self.room, name)}
            raise PydanticCustomError("part", "", inner) from None
        except UnknownName as error:
            raise PydanticCustomError("unknown_part", "{text}", {"text": str(error)}) from None


def faults(error: ValidationError, path: str, cls: type[Any] | None = None) -> list[str]:
    """One sentence a fault, each with its full path, inner parts unfolded, unknown fields with the nearest."""
    sentences = []
    for fault in error.errors(include_url=False):
        where = ".".join([path, *(str(step) for step in fault["loc"])])
        context = fault.get("ctx", {})
        if fault["type"] == "part":
            sentences += faults(context["error"], where + context["name"], context["cls"])
        elif fault["type"] in ("unexpected_keyword_argument", "extra_forbidden") and cls is not None:
            known = [field.name for field in dataclasses.fields(cls) if field.init]
            sentences.append(f"{where}: no such option; {nearest(str(fault['loc'][-1]), known)}")
        elif fault["type"] == "unknown_part":
            sentences.append(f"{where}: {fault['msg']}")
        else:
            sentences.append(f"{where}: {fault['msg']}, got {fault['input']!r}"[:400])
    return sentences


def to_recipe(value: Any) -> Any:
    """What a recipe would say to get `value`: parts become {name: {options}}, inner ones too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {name_of(type(value)): {name: to_recipe(getattr(value, name)) for name in fields}}
    if isinstance(value, Mapping):
        return {key: to_recipe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_recipe(item) for item in value]
    return value


def name_of(cls: type[Any]) -> str:
    """The name by which a recipe finds `cls`."""
    package, _, module = cls.__module__.rpartition(".")
    if package.startswith("oneloop.") and package.count(".") == 1:
        return module
    if cls.__module__.startswith(FILE_MODULE):
        return f"{inspect.getsourcefile(cls)}:{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


FILE_MODULE = "oneloop_user_file_"


def _class_in(module: Any, name: str) -> type[Any] | None:
    wanted = name.replace("_", "").lower()
    for attribute, value in vars(module).items():
        if attribute.lower() == wanted and inspect.isclass(value) and hasattr(value, "part_reads"):
            return value
    return None


def _load_file(path: Path) -> Any:
    name = FILE_MODULE + path.resolve().with_suffix("").as_posix().strip("/").replace("/", "_")
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise UnknownName(f"no such file: {path} (a part of your own is written 'file.py:Class')")
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
        raise UnknownName(
            f"'{name}': {attribute} is not a class decorated with @part; {nearest(attribute, known)}"
        )
    return cast(type[Any], found)
