"""`vestibule schema`: the JSON Schema of a rule file, for editors.

Generated from the models that read the file, so that it cannot say anything else. What a schema cannot say (names,
expressions, phases of variables) is `vestibule check`'s.
"""

from __future__ import annotations

import json
from typing import Any

import click
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from ..language.actions import ACTIONS
from ..language.model import Rule, RuleFile

_PHASES = ("before", "after", "continue")
_REF = "#/$defs/"


@click.command("schema")
def command() -> None:
    """Print the JSON Schema (2020-12) of a rule file, for editors."""
    click.echo(json.dumps(rule_file_schema(), indent=2, ensure_ascii=False))


def rule_file_schema() -> dict[str, Any]:
    """Build the schema of a rule file with all its parts."""
    actions = {name: ACTIONS[name] for name in ACTIONS}
    places, definitions = schemas([RuleFile, Rule, *actions.values()])
    found = definitions.pop(_name(places[RuleFile]))
    found["properties"]["rules"]["items"] = places[Rule]
    rule = definitions[_name(places[Rule])]
    for phase in _PHASES:
        rule["properties"][phase]["items"] = {"$ref": f"{_REF}step_{phase}"}
        allowed = {name: places[action] for name, action in actions.items() if phase in action.phases}
        definitions[f"step_{phase}"] = _step(phase, allowed)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rule file of Vestibule"}
    return {**head, **{key: value for key, value in found.items() if key != "title"}, "$defs": definitions}


def schemas(models: list[Any]) -> tuple[dict[Any, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Build the schemas of models: a reference for each, and the definitions that they share."""
    places, built = models_json_schema([(model, "validation") for model in models], schema_generator=_Generator)
    definitions: dict[str, dict[str, Any]] = built["$defs"]
    for name, definition in list(definitions.items()):
        definitions[name] = _tidy(definition)
    return {model: dict(place) for (model, _), place in places.items()}, definitions


def _name(place: dict[str, Any]) -> str:
    return str(place["$ref"]).removeprefix(_REF)


def _step(phase: str, actions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = {
        "when": {"type": ["string", "boolean"], "description": "A CEL expression; the step acts where it gives true."},
        "name": {"type": "string", "description": "Used in reports."},
        "description": {"type": "string"},
    }
    return {
        "type": "object",
        "description": f"A step of `{phase}`: one action.",
        "properties": {**own, **actions},
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in actions],
    }


class _Generator(GenerateJsonSchema):
    """Says what is taken before a value is checked: one for a list of one, the spelling of a number for a text."""

    def function_before_schema(self, schema: Any) -> dict[str, Any]:
        inner = super().function_before_schema(schema)
        name = getattr(schema["function"]["function"], "__name__", "")
        if name == "_listed" and "items" in inner:
            return {"anyOf": [inner["items"], inner]}
        if name == "_text" and inner.get("type") == "string":
            return {**inner, "type": ["string", "number", "boolean"]}
        if name == "_status":
            return {**inner, "minimum": 200, "maximum": 599}
        if name == "_lower":
            return _in_either_case(inner)
        return inner

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _in_either_case(schema: dict[str, Any]) -> dict[str, Any]:
    """Let words also begin with a capital, as HTTP writes them."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_in_either_case(part) for part in schema["anyOf"]]}
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], *(word.capitalize() for word in schema["enum"])]}
    return schema


def _tidy(schema: Any) -> Any:
    """Write the defaults of durations as an author would."""
    if isinstance(schema, dict):
        tidied = {key: _tidy(value) for key, value in schema.items()}
        kinds = [kind.get("type") for kind in tidied.get("anyOf", [tidied]) if isinstance(kind, dict)]
        if "string" in kinds and isinstance(tidied.get("default"), float):
            tidied["default"] = f"{tidied['default']:g}s"
        return tidied
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    return schema
