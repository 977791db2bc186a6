"""Rooms: the kinds of part there are, the folder that holds each, and what fits into a slot of that kind.

A part is found by file: `oneloop/credit/novelty.py` holds `class Novelty`, and a recipe calls it `novelty`. A
user's own part is reached by a dotted path (`package.module.Class`) or `file.py:Class`. A slot takes its own
kind: what has another kind's methods, or writes another kind's columns, is refused when the recipe is loaded.
"""

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from oneloop.core import loaded, protocols
from oneloop.core.declared import declared, is_part

SHOWN = 20
"""Names listed to someone whose name is like none of them."""
CREDIT, SELECT, JUDGE = "actions.advantage", "actions.share", "reward."
MARKS = {CREDIT: "credit", SELECT: "select", JUDGE: "judge"}
"""Columns that tell judges, credit and select parts apart: all three are called alike."""


class UnknownName(ValueError):
    """A recipe names a part that does not exist; the message has the nearest names."""


class Misfit(ValueError):
    """A part stands in a slot of another kind; the message says what the slot takes."""


@dataclass(frozen=True)
class Room:
    """A kind of part."""

    folder: str
    """Below `oneloop`, with dots."""
    protocol: type
    """What such a part must have, and how it is called."""
    marked: str = ""
    """Column, or beginning of its name, that such a part writes; parts of other rooms do not."""
    adopts: str = ""
    """Name of the part that takes a bare function of the user's, unless its first parameter is `rollouts`;
    none: a function is taken as it is."""


ROOMS = {
    "data": Room("sample.data", protocols.Data),
    "count": Room("sample.plan.count", protocols.Count),
    "dress": Room("sample.plan.dress", protocols.Part),
    "draw": Room("sample.plan.draw", protocols.Draw),
    "keep": Room("sample.plan.keep", protocols.Keep),
    "policy": Room("sample.policies", protocols.PolicyPart),
    "judge": Room("judge", protocols.Part, JUDGE, adopts="function"),
    "credit": Room("credit", protocols.Part),
    "select": Room("select", protocols.Part, SELECT),
    "objective": Room("update.objective", protocols.Objective),
    "language_model": Room("models.language", protocols.LanguageModel),
    "vision_language_model": Room("models.vision_language", protocols.VisionLanguageModel),
    "flow_model": Room("models.flow", protocols.FlowModel),
    "image_tokenizer": Room("models.image_tokenizer", protocols.ImageTokenizerModel),
    "judge_model": Room("models.judges", protocols.JudgeModel),
}
"""Every kind of part by the name under which `Of` asks for it."""


def words(room: str) -> str:
    """A room as people write it: language_model, a language model."""
    return room.replace("_", " ")


@cache
def names(room: str) -> list[str]:
    """Names of the parts of a room, one a file of its folder."""
    folder = Path(__file__).parent.parent.joinpath(*ROOMS[room].folder.split("."))
    return [path.stem for path in sorted(folder.glob("*.py")) if shipped(room, path.stem)]


@cache
def shipped(room: str, name: str) -> type[Any] | None:
    """The part of the package that `room` holds under `name`; None: there is none."""
    module = f"oneloop.{ROOMS[room].folder}.{name}"
    if not name.isidentifier() or name == "__init__" or importlib.util.find_spec(module) is None:
        return None
    wanted, found = name.replace("_", ""), vars(importlib.import_module(module)).values()
    mine = (each for each in found if is_part(each) and each.__module__ == module)
    return next((each for each in mine if each.__name__.lower() == wanted), None)


def find(room: str, name: str) -> type[Any]:
    """The class called `name` in `room`, or a user's own by `package.module.Class` or `file.py:Class`.

    Raises UnknownName with the nearest names, or saying what is missing from the user's module.
    """
    kind = f"{words(room)} part"
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        try:
            module = loaded.from_file(Path(path))
        except ImportError as error:
            raise UnknownName(str(error)) from error
        return _attribute(room, module, attribute, name)
    if name.endswith(".py"):
        raise UnknownName(f"'{name}' is a file; write {name}:NAME, with the name of its {kind}")
    if room == "data" and "/" in name:
        raise UnknownName(_no_part(name))
    if "." in name:
        path, _, attribute = name.rpartition(".")
        try:
            module = importlib.import_module(path)
        except (Exception, SystemExit) as error:  # whatever the user's module raises when imported
            if room == "data" and getattr(error, "name", None) == path.partition(".")[0]:
                raise UnknownName(_no_part(name)) from None
            why = f"cannot import '{path}' for the {kind} '{name}'"
            raise UnknownName(f"{why}: {type(error).__name__}: {error}") from error
        loaded.as_loaded(module)  # so that a later edit is noticed
        return _attribute(room, module, attribute, name)
    if found := shipped(room, name):
        return found
    elsewhere = [other for other in ROOMS if other != room and shipped(other, name)]
    hint = f"it is a {words(elsewhere[0])} part" if elsewhere else nearest(name, names(room))
    raise UnknownName(f"no {kind} is called '{name[:80]}'; {hint}")


def _no_part(name: str) -> str:
    """What to write in place of `name`, which looks like a file or a data set of the hub."""
    there = f"no data part is called '{name}', and no module has it"
    return f"{there}; a file, a folder or a data set of the hub is {{hub: {{path: {name}}}}}"


def nearest(name: str, known: list[str], also: list[str] | None = None) -> str:
    """A sentence that helps someone who typed `name` for one of `known` (or of `also`: never listed)."""
    if close := difflib.get_close_matches(name, [*known, *(also or [])], n=1, cutoff=0.5):
        return f"did you mean '{close[0]}'?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"known: {', '.join(known[:SHOWN])}{more}"


def build(room: str, spec: Any) -> Any:
    """A part from what a recipe says: `name`, `{name: {option: value}}`, or an instance as it is.

    Raises UnknownName, Misfit or pydantic's ValidationError.
    """
    made = _made(room, spec)
    if reason := misfit(room, made):
        raise Misfit(reason)
    return made


def _made(room: str, spec: Any) -> Any:
    kind = f"{words(room)} part"
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
    if (adopts := ROOMS[room].adopts) and inspect.isroutine(spec) and not _takes_rollouts(spec):
        return find(room, adopts)(path=spec, isolate=False)
    return spec


def _takes_rollouts(function: Any) -> bool:
    """Whether a function asks for the table itself, by the name of its first parameter."""
    return next(iter(inspect.signature(function).parameters), "") == "rollouts"


def misfit(room: str, instance: Any) -> str | None:
    """Why `instance` cannot stand in a slot of this kind, in words; None: it fits."""
    kind, cls = words(room), type(instance)
    if (home := _home(cls)) and home != room:
        return f"{cls.__name__} is a {words(home)} part; here stands a {kind} part ({_examples(room)})"
    if inspect.isroutine(instance) and "__call__" in members(ROOMS[room].protocol):
        return _cannot_be_called(room, instance, instance)
    if missing := lacking(instance, ROOMS[room].protocol):
        name = getattr(instance, "__name__", cls.__name__)
        return f"a {kind} part has {', '.join(missing)}, and {name} has not ({_examples(room)})"
    writes = declared(instance, "writes")
    for mark, other in MARKS.items():
        if other != room and any(column.startswith(mark) for column in writes) and room in MARKED:
            return f"{cls.__name__} writes '{mark}' and is a {other} part; here stands a {kind} part"
    mark = ROOMS[room].marked
    if mark and is_part(cls) and not any(column.startswith(mark) for column in writes):
        return f"a {kind} part writes '{mark}', and {cls.__name__} does not say so in @part(writes=...)"
    return _cannot_be_called(room, instance, cls)


CALLED = ("__call__", "__len__", "__getitem__")
MARKED = ("dress", "judge", "credit", "select")
"""Rooms whose parts take rollouts and return rollouts."""


def _home(cls: type[Any]) -> str | None:
    """The room whose folder holds `cls`; None for a class of a user's, or one that is in no room."""
    package, _, module = cls.__module__.rpartition(".")
    homes = {f"oneloop.{room.folder}": name for name, room in ROOMS.items()}
    room = homes.get(package)
    return room if room is not None and shipped(room, module) is cls else None


def _examples(room: str) -> str:
    return f"such as {', '.join(names(room)[:3])}"


@cache
def members(protocol: type) -> tuple[str, ...]:
    """What a protocol asks for: its attributes, properties and methods, in the order written."""
    own = vars(protocol)
    methods = [name for name, what in own.items() if callable(what) or isinstance(what, property)]
    named = [*own.get("__annotations__", {}), *methods]
    return tuple(name for name in named if not name.startswith("_") or name in CALLED)


def lacking(instance: Any, protocol: type) -> list[str]:
    """What `protocol` asks for and `instance` has not, by name."""
    return [name for name in members(protocol) if not hasattr(instance, name)]


def _cannot_be_called(room: str, instance: Any, named: Any) -> str | None:
    """Why `instance` cannot be called as the room's protocol says; None: it can, or does not say how."""
    protocol = ROOMS[room].protocol
    if "__call__" not in members(protocol):
        return None
    wanted = list(inspect.signature(vars(protocol)["__call__"]).parameters)[1:]
    try:
        signature = inspect.signature(instance)
    except (TypeError, ValueError):  # some built-in functions do not say
        return None
    try:
        signature.bind(*wanted)
    except TypeError:
        called = f"{words(room)} part is called with ({', '.join(wanted)})"
        return f"a {called}; {named.__name__} takes {signature}"
    return None


def part_name(cls: type[Any]) -> str:
    """The name by which a recipe finds `cls`."""
    if _home(cls):
        return cls.__module__.rpartition(".")[2]
    if cls.__module__.startswith(loaded.FILE_MODULE):
        return f"{inspect.getsourcefile(cls)}:{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def _attribute(room: str, module: ModuleType, attribute: str, name: str) -> type[Any]:
    found = getattr(module, attribute, None)
    if not is_part(found):
        known = [key for key, value in vars(module).items() if is_part(value)]
        hint = nearest(attribute, known) if known else "it has no parts"
        if (adopts := ROOMS[room].adopts) and inspect.isroutine(found):
            hint = f"for a function write {{{adopts}: {{path: {name}}}}}"
        raise UnknownName(f"'{name}': {attribute} is not a class decorated with @part; {hint}")
    return cast(type[Any], found)
