"""`path=value`: one option of a recipe set from the command line or by another trainer's name.

    learner.learning_rate=1e-4    plan.count.uniform.n=16    objective.policy_gradient.clip_high=0.28

A path walks mappings by key and lists of parts by the part's name; a part that is not in a list yet is added,
and naming another part where there can only be one puts it there. In a recipe with several phases a path that
starts in a phase (`learner...`) means the last one; `phases.warm_start.learner...` means another.
"""

import re
from typing import Any

from oneloop.core.rooms import UnknownName, find, names
from oneloop.recipe.faults import short
from oneloop.recipe.fields import FieldContent, content_of
from oneloop.recipe.text import NotYaml, parse

Node = dict[str, Any]
COUNTED = re.compile(r"[\w.]*?(\[\d+\]|(?<!phases)\.\d+(?=\.|$))")
"""A place in a list, by its number."""


class Misplaced(ValueError):
    """A path that leads nowhere in this recipe; the message says where it ends."""


class Absent(Misplaced):
    """The path names an option of a part that this recipe does not have."""


def pair_up(words: list[str]) -> list[str]:
    """`--a.b c`, `--a.b=c` and `--flag` as `a.b=c` and `flag=true`; other words as they are."""
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            pairs.append(word)
            continue
        path, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") and "=" not in rest[0] else "true"
        pairs.append(f"{path.replace('-', '_')}={value}")
    return pairs


def split(override: str) -> tuple[str, Any]:
    """(path, value) of `path=value`, the value read as YAML. Raises Misplaced."""
    path, equals, text = override.partition("=")
    if counted := COUNTED.match(path):
        raise Misplaced(
            f"'{override}': a part in a list is named, not counted ('{counted[1]}'); write its name, as in "
            "judge.verifier.by=math"
        )
    if not equals or not path or not all(path.split(".")):
        raise Misplaced(f"'{override}' is not an override; write path=value, e.g. learner.learning_rate=1e-4")
    try:
        return path, parse(text)
    except NotYaml as error:
        raise Misplaced(f"'{override}': the value is not YAML: {error}") from None


def in_phase(raw: Node, path: str, phase_keys: list[str]) -> str:
    """`path` from the top of `raw`: what belongs to a phase is in the last one."""
    phases = raw.get("phases")
    if path.partition(".")[0] in phase_keys and isinstance(phases, dict) and phases:
        return f"phases.{list(phases)[-1]}.{path}"
    return path


def place(node: Node, cls: type[Any] | None, path: str, value: Any, adds: bool = True) -> None:
    """Sets `path` below `node`, the options of `cls` as a recipe writes them, making mappings on the way.

    Without `adds` only parts that are there are touched: raises Absent. Raises Misplaced where a path goes on
    below a value.
    """
    mapping, key = _locate(node, cls, path, adds)
    mapping[key] = value


def _locate(node: Node, cls: type[Any] | None, path: str, adds: bool) -> tuple[Node, str]:
    """The mapping and the key in it that `path` means."""
    key, _, rest = path.partition(".")
    what = content_of(cls, key)
    if not rest:
        return node, key
    if what.room:
        inside, name = _part(node, key, what, rest, adds)
        cls = _class(what.room, name)
    elif what.shape == "names":
        inside, name, cls = _below(node, key), rest.partition(".")[0], what.cls
    else:
        return _locate(_below(node, key), what.cls, rest, adds)
    tail = rest[len(name) + 1 :]
    return _locate(_below(inside, name), cls, tail, adds) if tail else (inside, name)


def _below(node: Node, key: str) -> Node:
    """The mapping under `key`, made where there is nothing."""
    if node.get(key) is None:
        node[key] = {}
    found = node[key]
    if not isinstance(found, dict):
        raise Misplaced(f"'{key}' is {short(found)}, which has no options")
    return found


def _part(node: Node, key: str, what: FieldContent, path: str, adds: bool) -> tuple[Node, str]:
    """({name: options}, name) of the part with which `path` starts."""
    specs = node.get(key)
    if what.shape == "list" and not isinstance(specs, list | None):
        raise Misplaced(f"'{key}' must be a list of parts, got {short(specs)}")
    items = list(specs) if isinstance(specs, list) else [specs] if specs is not None else []
    known = [_name(spec) for spec in items]
    # the name of a part of one's own has dots itself
    name = next((one for one in known if path == one or path.startswith(f"{one}.")), path.partition(".")[0])
    if name not in known:
        if not adds and known and not any(one in names(what.room) or "." in one for one in known):
            return {}, name  # a misspelt part: that is said anyway, so set nothing
        if not adds and (known or what.shape == "list"):
            raise Absent(f"there is no {name} in {key}" + (f", only {', '.join(known)}" if known else ""))
        items = [*items, {name: {}}] if what.shape == "list" else [{name: {}}]
    where = known.index(name) if name in known else -1
    if not isinstance(items[where], dict):
        items[where] = {name: {}}
    node[key] = items if what.shape == "list" else items[0]
    return items[where], name


def _name(spec: Any) -> str:
    """The part that `spec` names; "" for what is no part and will be refused as such."""
    if isinstance(spec, dict) and len(spec) == 1:
        return str(next(iter(spec)))
    return spec if isinstance(spec, str) else ""


def _class(room: str, name: str) -> type[Any] | None:
    try:
        return find(room, name)
    except UnknownName:
        return None


def drop_part(node: Node, path: str) -> None:
    """Takes the part that `path` ends in out of its list, where it is there."""
    *above, key, name = path.split(".")
    for step in above:
        node = _below(node, step)
    specs = node.get(key)
    if isinstance(specs, list):
        node[key] = [spec for spec in specs if spec != name and not (isinstance(spec, dict) and name in spec)]
