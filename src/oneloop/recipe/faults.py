"""pydantic's errors as sentences: the full path, what was got, what is allowed, the nearest name."""

import dataclasses
import reprlib
from collections.abc import Callable
from typing import Any, get_args

from pydantic_core import ValidationError

from oneloop.core.rooms import nearest
from oneloop.recipe.fields import init_fields, inner, is_choice, plain

WORDS = {
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of usual size",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "dataclass_type": "must be a mapping of options",
}
PATTERNS = {
    r"^https?://": "must begin with http:// or https://",
    r"^[^.]*$": "must have no .",
    r"^[\w][\w. -]*$": "must begin with a letter or digit and have letters, digits, spaces, - _ and . alone",
}
"""Patterns of options, in words."""
TYPES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
OWN = ("unknown_part", "broken_part")
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
LONGEST = 400
Hint = Callable[[str], str]


def faults(
    error: ValidationError, path: str, cls: type[Any] | None = None, hint: Hint | None = None
) -> list[str]:
    """One sentence a fault, each with its full path below `path`, inner parts unfolded.

    `cls` is the class that refused; `hint` says what may be meant by an option it does not have (default: the
    nearest of its options).
    """
    found = error.errors(include_url=False)
    sentences: dict[str, None] = {}
    for fault in found:
        if not (fault["type"] == "too_short" and _has_faults_inside(fault["loc"], found)):
            sentences |= dict.fromkeys(_sentences(fault, path, cls, hint))
    return [_one_line(sentence) for sentence in sentences]


def _one_line(sentence: str) -> str:
    """The sentence on one line, shortened if it is very long."""
    line = " ".join(sentence.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _has_faults_inside(loc: tuple[str | int, ...], found: list[Any]) -> bool:
    """pydantic counts an item that has a fault as missing from its list."""
    return any(len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in found)


def _sentences(fault: Any, path: str, cls: type[Any] | None, hint: Hint | None) -> list[str]:
    steps, owner, choice = _walk(fault["loc"], cls)
    where, kind, context = path + steps, fault["type"], fault.get("ctx", {})
    if kind == "part":
        return faults(context["error"], where + context["name"], context["cls"])
    if choice is not None:
        return [f"{where}: must be {_described(choice)}, got {short(fault['input'])}"]
    if kind in OWN:
        return [f"{where}: {fault['msg']}"]
    if kind in UNKNOWN:
        name = str(fault["loc"][-1])
        known = init_fields(owner) if owner is not None else []
        return [f"{where}: no such option; {hint(name) if hint and owner is cls else nearest(name, known)}"]
    if kind in ("value_error", "assertion_error"):
        return [f"{where}: {context['error']}"]
    if kind == "too_short":
        return [f"{where}: needs at least {context['min_length']}, is empty"]
    if WORDS.get(kind) == "must be a list" and isinstance(fault["input"], str | dict):
        return [f"{where}: must be a list, got {short(fault['input'])}; write it in [ ]"]
    if WORDS.get(kind) == "must be text" and isinstance(fault["input"], dict | list):
        return [f"{where}: must be text, got {short(fault['input'])}; what has braces is written in quotes"]
    if kind == "too_long":
        return [f"{where}: takes at most {context['max_length']}, got {short(fault['input'])}"]
    if WORDS.get(kind) == "must be text" and isinstance(fault["input"], int | float):
        return [f"{where}: must be text, got {short(fault['input'])}; in quotes it is text"]
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        words = PATTERNS.get(pattern, f"must match {pattern}")
        return [f"{where}: {words}, got {short(fault['input'])}"]
    words = WORDS.get(kind, fault["msg"].replace("Input should be", "must be"))
    return [f"{where}: {words}" if kind == "missing" else f"{where}: {words}, got {short(fault['input'])}"]


def _walk(loc: tuple[str | int, ...], cls: type[Any] | None) -> tuple[str, type[Any] | None, Any]:
    """(the path as text, the class whose option the last step is, the union the path ends in, if any).

    Within a union pydantic reports every choice with its own faults; the path ends before them.
    """
    steps, owner = "", None
    annotation: Any = cls
    for step in loc:
        if step == "[key]":  # pydantic's mark of a key of a mapping, which the step before it is
            continue
        if is_choice(annotation):
            return steps, owner, plain(annotation)
        owner = plain(annotation) if dataclasses.is_dataclass(plain(annotation)) else None
        steps += f"[{step}]" if isinstance(step, int) else f".{step}"
        annotation = inner(annotation, step)
    return steps, owner, None


def _described(choice: Any) -> str:
    choices = [plain(one) for one in get_args(choice) if one is not type(None)]
    return " or ".join(dict.fromkeys(TYPES.get(one, _container(one)) for one in choices))


def _container(annotation: Any) -> str:
    text = str(annotation)
    if text.startswith(("tuple", "list")):
        return "a list"
    return "a mapping" if text.startswith("dict") else "something callable from Python"


SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 60
SHORT.maxlist = SHORT.maxtuple = SHORT.maxdict = SHORT.maxset = 3
SHORT.maxlevel = 2


def short(value: Any) -> str:
    """`value` in at most about eighty characters."""
    try:
        return SHORT.repr(value)[:80]
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
