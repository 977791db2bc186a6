"""Random changes of recipes: other values, parts in other slots, huge numbers, typos, doubled keys."""

import copy
import random
from collections.abc import Iterator
from typing import Any

from oneloop.core.rooms import ROOMS
from oneloop.core.rooms import names as parts_of

NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    7,
    64,
    10**6,
    10**18,
    2**63,
    -(10**30),
    0.5,
    -0.0,
    1e-30,
    1e308,
    float("nan"),
    float("inf"),
]
TEXTS = [
    "",
    "8",
    "nan",
    "1e-4",
    "none",
    "x" * 3000,
    "\x00",
    "\ud800",
    "../..",
    "%s %d {}",
    "[bold]",
    "日本語",
    "🙂" * 30,
]
TEXTS += [
    "(" * 200,
    "a{9999999999}",
    "(a+)+$",
    "/dev/null",
    "/",
    "file.py:Class",
    "no.py:Z",
    "x.y.Z",
    "{question}",
]
JUNK: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": {"c": []}}},
    {1: 2},
    {None: 3},
]
JUNK += [[1, "two", {}], b"bytes", {1, 2}, ["verifier", "verifier"], {"verifier": {}, "truncated": {}}]
NAMES = [
    "model",
    "uniform",
    "kl",
    "data",
    "phases",
    "train",
    "judge",
    "beta",
    "epsilon",
    "self",
    "cls",
    "__class__",
]
NAMES += ["name", "rows", "läuft", "loss_type", "num_generations", ".", "..x", "a.b", "", "\x00", "🙂"]
EDITS = [
    "",
    "\t",
    ":",
    "{",
    "]",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "\n",
    "é",
    "- ",
    "<<: *sums",
    "? ",
    "|",
]
KINDS = (
    "delete",
    "value",
    "value",
    "number",
    "number",
    "rename",
    "typo",
    "swap",
    "wrap",
    "add",
    "double",
    "part",
)


def parts() -> list[Any]:
    """Every part a recipe can name, as a name and with options that are nearly right."""
    named = [name for room in ROOMS for name in parts_of(room)]
    return [*named, *({name: {}} for name in named), *({name: {"n": 2, "seed": 1}} for name in named)]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below `node`."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from places(node[key])


def mutated(recipe: Any, draw: random.Random, known: list[Any]) -> Any:
    """A copy of `recipe` with one to six changes."""
    changed = copy.deepcopy(recipe)
    for _ in range(draw.choice([1, 1, 1, 1, 2, 2, 3, 6])):
        if found := list(places(changed)):
            change(*draw.choice(found), found, draw, known)
    return changed


def change(
    container: Any, key: Any, found: list[tuple[Any, Any]], draw: random.Random, known: list[Any]
) -> None:
    """Changes the place `key` of `container`; `found` are all places."""
    kind = draw.choice(KINDS)
    value = draw.choice([*NUMBERS, *TEXTS, *JUNK])
    if kind == "delete":
        del container[key]
    elif kind == "value":
        container[key] = copy.deepcopy(value)
    elif kind == "number":
        container[key] = near(container[key], draw)
    elif kind == "part":
        container[key] = copy.deepcopy(draw.choice(known))
    elif kind in ("rename", "typo") and isinstance(container, dict):
        name = typo(key, draw) if kind == "typo" and isinstance(key, str) and key else draw.choice(NAMES)
        container[name] = container.pop(key)
    elif kind == "swap":
        other, its = draw.choice(found)
        if its in (other if isinstance(other, dict) else range(len(other))):
            container[key], other[its] = copy.deepcopy(other[its]), copy.deepcopy(container[key])
    elif kind == "wrap":
        container[key] = draw.choice([[container[key]], {draw.choice(NAMES): container[key]}])
    elif kind == "add" and isinstance(container, dict):
        container[draw.choice(NAMES)] = copy.deepcopy(value)
    elif isinstance(container, list):
        container.append(copy.deepcopy(container[key]))


def near(value: Any, draw: random.Random) -> Any:
    """A number near `value`, or of another size or kind; what is no number becomes one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return draw.choice(NUMBERS)
    return draw.choice(
        [value + 1, value - 1, -value, value * 2, value / 2, value * 10, 0, 1, float(value), str(value)]
    )


def typo(name: str, draw: random.Random) -> str:
    """`name` with a letter too few, too many, doubled or another."""
    place = draw.randrange(len(name))
    return name[:place] + draw.choice(["", "e", name[place] * 2, name[place].upper()]) + name[place + 1 :]


def edited(text: str, draw: random.Random) -> str:
    """YAML text with some characters replaced, or a line doubled or left out."""
    if draw.random() < 0.3:
        lines = text.split("\n")
        place = draw.randrange(len(lines))
        lines[place : place + 1] = draw.choice([[], [lines[place]] * 2, ["  " + lines[place]]])
        return "\n".join(lines)
    letters = list(text)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(letters))
        letters[place] = draw.choice([*EDITS, letters[place] * 2])
    return "".join(letters)
