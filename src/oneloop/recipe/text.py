"""Recipes as text: YAML in, with every key at most once, and YAML out that gives the same recipe again.

Values are read as YAML 1.2 has them. The library speaks YAML 1.1, where 1e-4 is a text, 007 is 7, 1:30 is 90,
`no` is false and 2020-01-01 an object: a row's answer would silently be another.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from oneloop.core.rooms import nearest, part_name
from oneloop.recipe.fields import content_of, init_fields

TAG = "tag:yaml.org,2002:"
VALUES = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", "-+0123456789"),
    "float": (
        r"[-+]?((0|[1-9][0-9_]*)?\.[0-9][0-9_]*|(0|[1-9][0-9_]*)\.|[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+"
        r"|\.(inf|Inf|INF|nan|NaN|NAN))",
        "-+.0123456789",
    ),
}
"""{kind of value: (how it is written, how it begins)}; all else but null is text."""
LARGEST = 2**63
MOST = 1_000_000
"""Most values that a recipe may hold."""
SHIPPED = Path(__file__).parent / "shipped"
Mapped = dict[str, Any]


class NotYaml(ValueError):
    """The text is not YAML, or holds a key twice; the message says where."""


class NoSuchRecipe(ValueError):
    """A word that names neither a file nor a shipped recipe; the message has the nearest names."""


class Loader(yaml.SafeLoader):
    """Refuses keys that are given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping; raises NotYaml."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise NotYaml(
                    f"line {key.start_mark.line + 1}: a mapping or list is used as a key; text with braces, "
                    "such as '{question}', is written in quotes"
                )
            if key.tag != "tag:yaml.org,2002:merge" and (key.tag, key.value) in seen:
                raise NotYaml(f"line {key.start_mark.line + 1}: '{key.value}' is given twice")
            if isinstance(key, yaml.ScalarNode):
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """Quotes texts that `Loader`, or a reader of YAML 1.1, would take for something else."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in known if tag in (f"{TAG}null", f"{TAG}merge")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_written, _first) in VALUES.items():
    for _speaker in (Loader, Dumper):
        _speaker.add_implicit_resolver(f"{TAG}{_kind}", re.compile(f"({_written})$"), list(_first))


def parse(text: str) -> Any:
    """What YAML `text` says. Raises NotYaml."""
    try:
        return yaml.load(text, Loader)  # a SafeLoader
    except NotYaml:
        raise
    except RecursionError:
        raise NotYaml("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise NotYaml(_plainly(" ".join(str(error).split()))) from None


def _plainly(said: str) -> str:
    """An error of the library without its name for the text, and with what to do where it does not say so."""
    said = said.replace(' in "<unicode string>",', " in")
    if "expected a single document" in said:
        said = "a line --- begins a second document; a recipe is one"
    elif "character '\\t' that cannot start any token" in said:
        said += "; indent with spaces, not with tabs"
    return said


def shipped() -> dict[str, Path]:
    """{name: file} of the recipes that come with the package."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def located(source: Path) -> Path:
    """The file `source`, or the shipped recipe of that name. Raises NoSuchRecipe with the nearest names."""
    known = shipped()
    if source.exists() or source.suffix or len(source.parts) > 1:
        return source
    if source.name in known:
        return known[source.name]
    raise NoSuchRecipe(f"no recipe is called '{source}'; {nearest(str(source), list(known))}")


def read(path: Path) -> Any:
    """What the YAML file says. Raises NotYaml, or OSError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise NotYaml(f"byte {error.start} is not UTF-8") from None


def plain(node: Any, path: str, problems: list[str]) -> Any:
    """A copy of mappings and lists in which nothing occurs twice, so that an override changes one place.

    (YAML anchors share.) What no recipe can hold is added to `problems`: integers beyond 64 bits, NaN, text
    that is not Unicode. Raises RecursionError for what contains itself, NotYaml for more than `MOST` values,
    which a few anchors of anchors can mean.
    """
    return _copied(node, path, problems, itertools.count())


def _copied(node: Any, path: str, problems: list[str], counter: "itertools.count[int]") -> Any:
    if next(counter) >= MOST:
        raise NotYaml(
            f"it holds more than {MOST:,} values, those of repeated anchors counted; put rows in a file"
        )
    if type(node) is dict:
        return {
            _scalar(key, path, problems): _copied(value, f"{path}.{key}", problems, counter)
            for key, value in node.items()
        }
    if type(node) is list:
        return [_copied(value, f"{path}[{i}]", problems, counter) for i, value in enumerate(node)]
    return _scalar(node, path, problems)


def _scalar(node: Any, path: str, problems: list[str]) -> Any:
    if type(node) is int and not -LARGEST <= node < LARGEST:
        problems.append(f"{path}: a whole number must fit 64 bits")
        return 0
    if type(node) is float and not math.isfinite(node):
        problems.append(f"{path}: a number must be finite, got {node}")
        return 0.0
    if type(node) is str and not node.isascii() and node != (clean := _unicode(node)):
        problems.append(f"{_unicode(path)}: text must be Unicode, got {clean!r:.60}")
        return clean
    return node


def _unicode(text: str) -> str:
    """`text` with half surrogates, which are no characters, as question marks."""
    return text.encode(errors="replace").decode()


def to_recipe(value: Any) -> Any:
    """What a recipe would say to get `value`: parts become {name: {options}}, inner ones too."""
    if _is_made(value):
        return {part_name(type(value)): options(value)}
    if isinstance(value, Mapping):
        return {key: to_recipe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_recipe(item) for item in value]
    if callable(value):  # made in Python; named, but no recipe can give it again
        return (
            f"<{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}>"
        )
    return value


def options(part: Any) -> Mapped:
    """Every option of `part` as a recipe writes it."""
    written: Mapped = {}
    for name in init_fields(type(part)):
        what, value = content_of(type(part), name), getattr(part, name)
        if what.cls is None or value is None:
            written[name] = to_recipe(value)
        elif what.shape == "names":
            written[name] = {key: options(item) for key, item in value.items()}
        else:
            written[name] = [options(item) for item in value] if what.shape == "list" else options(value)
    return written


def written(recipe: Any) -> str:
    """YAML that gives `recipe` again, every option written out."""
    text: str = yaml.dump(options(recipe), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def _is_made(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
