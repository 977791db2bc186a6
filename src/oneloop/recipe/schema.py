"""The JSON schema of recipes, for editors: every part of every room, its options, bounds and meaning.

Taken from the parts themselves. What only a whole recipe shows (columns, units, divisibility) is not in it.
"""

import importlib
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticOmit, core_schema

from oneloop.core.rooms import find, names
from oneloop.recipe.aliases import ALIASES
from oneloop.recipe.fields import init_fields
from oneloop.recipe.recipe import Phase, Recipe

Schema = dict[str, Any]
OWN = {"description": "A part of your own: package.module.Class or file.py:Class."}


class Generator(GenerateJsonSchema):
    """Leaves out what a recipe cannot write: callables and other objects of Python."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        """Omits the field or the choice."""
        raise PydanticOmit


def recipe_schema() -> Schema:
    """The schema as one object; a recipe with `phases`, or with the stages of one phase at the top."""
    definitions: dict[str, Schema] = {}
    recipe, phase = (_options(cls, definitions) for cls in (Recipe, Phase))
    also = {
        name: {"description": f"The same as {' and '.join(alias.paths)}."} for name, alias in ALIASES.items()
    }
    shared = {name: field for name, field in recipe["properties"].items() if name != "phases"}
    required = [name for name in recipe["required"] if name != "phases"]
    whole = {"type": "object", "additionalProperties": False}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "oneloop recipe",
        "anyOf": [
            {**whole, "properties": also | recipe["properties"], "required": recipe["required"]},
            {
                **whole,
                "properties": also | shared | phase["properties"],
                "required": [*required, *phase["required"]],
            },
        ],
        "$defs": definitions,
    }


def _options(cls: type[Any], definitions: dict[str, Schema]) -> Schema:
    """The schema of one class; what it refers to is added to `definitions`."""
    schema = TypeAdapter(cls).json_schema(schema_generator=Generator)
    for name, inner in schema.pop("$defs", {}).items():
        definitions.setdefault(name, inner)
    known, meant = init_fields(cls), getattr(cls, "__pydantic_fields__", {})
    schema["properties"] = {
        name: _resolved(field, definitions)
        for name, field in schema.get("properties", {}).items()
        if name in known
    }
    for name, field in schema["properties"].items():  # a part has the meanings of the part it extends
        if name in meant and meant[name].description:
            field.setdefault("description", meant[name].description)
    return schema


def _resolved(node: Any, definitions: dict[str, Schema]) -> Any:
    """`node` with the marks of `Of` and `Options` made into references."""
    if isinstance(node, list):
        return [_resolved(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _resolved(value, definitions) for key, value in node.items()}
    if room := node.pop("x-part", None):
        node["$ref"] = _room(room, definitions)
    if path := node.pop("x-options", None):
        node["$ref"] = _class(path, definitions)
    return node


def _class(path: str, definitions: dict[str, Schema]) -> str:
    module, _, name = path.partition(":")
    if path not in definitions:
        definitions[path] = {}  # it may refer to itself
        definitions[path] = _options(getattr(importlib.import_module(module), name), definitions)
    return f"#/$defs/{path}"


def _room(room: str, definitions: dict[str, Schema]) -> str:
    """A part: its name alone where no option is required, or {name: options}."""
    if room not in definitions:
        definitions[room] = {}
        options = {name: _options(find(room, name), definitions) for name in names(room)}
        alone = [name for name, schema in options.items() if not schema.get("required")]
        choices: list[Schema] = [{"enum": alone}] if alone else []
        for name, schema in options.items():
            definitions[f"{room}.{name}"] = schema
            inside: Schema = {"$ref": f"#/$defs/{room}.{name}"}
            inside = inside if schema.get("required") else {"anyOf": [inside, {"type": "null"}]}
            choices.append(_mapping({name: inside}, required=[name]) | {"description": schema["description"]})
        choices.append({"type": "string", "pattern": "[.]", **OWN})
        choices.append(
            {
                "type": "object",
                "propertyNames": {"pattern": "[.]"},
                "maxProperties": 1,
                "minProperties": 1,
                **OWN,
            }
        )
        definitions[room] = {"anyOf": choices}
    return f"#/$defs/{room}"


def _mapping(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
