"""No option does nothing: every field of every part, and of the recipe itself, is read somewhere."""

import ast
import functools
from collections import defaultdict
from pathlib import Path

import pytest

import oneloop
from oneloop.core.rooms import ROOMS, find, names
from oneloop.recipe.fields import content_of, hints, init_fields
from oneloop.recipe.recipe import Recipe

SOURCE = Path(oneloop.__file__).parent


def attributes(tree):
    """Names that a file reads as attributes, `getattr(x, "name")` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield from (arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant))


TEXT = {path: path.read_text() for path in SOURCE.rglob("*.py")}
TREE = {path: ast.parse(text) for path, text in TEXT.items()}
READ = {path: set(attributes(tree)) for path, tree in TREE.items()}


@functools.cache
def classes():
    """Every class a recipe can name or contain."""
    found, todo = {}, [Recipe, *(find(room, name) for room in ROOMS for name in names(room))]
    while todo:
        cls = todo.pop()
        if cls not in found:
            found[cls] = init_fields(cls)
            todo += [inner for field in hints(cls) if (inner := content_of(cls, field).cls) is not None]
    return [(cls, field) for cls, fields in found.items() for field in fields]


def file_of(module):
    return SOURCE / Path(*module.split(".")[1:]).with_suffix(".py")


def imported(path):
    """Files of the package that a file imports."""
    for node in ast.walk(TREE[path]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oneloop."):
            yield file_of(node.module)


@functools.cache
def holders():
    """{class: names of the fields that hold it}."""
    found = defaultdict(set)
    for other, field in classes():
        found[content_of(other, field).cls].add(field)
    return found


@functools.cache
def near(cls):
    """Files that know a class: its own, those that this imports or that import it, those that read it."""
    found = set()
    for kind in cls.__mro__:
        if kind.__module__.startswith("oneloop."):
            home = file_of(kind.__module__)
            found |= {home, *imported(home)} & set(READ)
            found |= {
                path for path, read in READ.items() if kind.__module__ in TEXT[path] or holders()[cls] & read
            }
    return found


@pytest.mark.parametrize(("cls", "field"), classes(), ids=lambda value: getattr(value, "__name__", value))
def test_an_option_is_read(cls, field):
    assert any(field in read for read in READ.values()), f"nothing reads {cls.__name__}.{field}"
    # a name shared with something else proves little: a file that knows the class must read it
    used_by_protocol = {"name", "weight", "limits", "mean", "over", "where", "constant_length", "n"}
    assert field in used_by_protocol or any(field in READ[path] for path in near(cls)), f"{cls}: {field}"


def test_the_test_sees_fields_inside_fields():
    seen = {(cls.__name__, field) for cls, field in classes()}
    assert {("Plan", "groups"), ("Learning", "betas"), ("Evaluation", "every"), ("Lora", "rank")} <= seen
    assert {
        ("JudgeLimits", "timeout"),
        ("Phase", "steps"),
        ("Recipe", "paper"),
        ("GroupRelative", "ddof"),
    } <= seen
