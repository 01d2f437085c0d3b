"""`vestibule schema`: the JSON Schemas of rule, test and settings files, for editors.

Generated from the models that read the files, so that they cannot say anything else. What a schema cannot say (names,
expressions, phases of variables) is `vestibule check`'s.
"""

from __future__ import annotations

import json
from typing import Any

import click
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from ..language.actions import ACTIONS
from ..language.cases.model import CaseFile
from ..language.model import Rule, RuleFile
from .examples import example

_PHASES = ("before", "after", "continue")
_REF = "#/$defs/"


@click.command("schema")
@click.argument("kind", type=click.Choice(["rules", "tests", "settings"]), default="rules")
def command(kind: str) -> None:
    """Print the JSON Schema (2020-12) of a rule file, a test file (*.test.yaml) or the settings, for editors."""
    click.echo(write(SCHEMAS[kind]()), nl=False)


def write(schema: dict[str, Any]) -> str:
    """Write a schema as a file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


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
    return _whole("Rule file of Vestibule", "File", found, definitions)


def test_file_schema() -> dict[str, Any]:
    """Build the schema of a test file; the rules that may stand in it have the schema of rules."""
    places, definitions = schemas([CaseFile])
    rules = rule_file_schema()["$defs"]
    found = definitions.pop(_name(places[CaseFile]))
    rule: dict[str, Any] = {"anyOf": [{"type": "string"}, {"$ref": f"{_REF}rule_Rule"}]}
    # Models of the two files have names in common, and are not the same.
    taken = {name: f"rule_{name}" for name in rules} | {"Rule": "rule_Rule"}
    written = json.loads(json.dumps(rules), object_hook=lambda part: _renamed(part, taken))
    definitions |= {taken[name]: definition for name, definition in written.items()}
    found["properties"]["rules"]["items"] = rule
    case = definitions["Case"]["properties"]["rules"]
    case["anyOf"] = [{"type": "array", "items": rule}, {"type": "null"}]
    return _whole("Test file of Vestibule", "CaseFile", found, definitions)


def settings_schema() -> dict[str, Any]:
    """Build the schema of vestibule.yaml."""
    from ..settings import Settings

    places, definitions = schemas([Settings])
    return _whole("Settings of Vestibule", "Settings", definitions.pop(_name(places[Settings])), definitions)


SCHEMAS = {"rules": rule_file_schema, "tests": test_file_schema, "settings": settings_schema}


def _renamed(part: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    reference = part.get("$ref")
    return part if reference is None else {**part, "$ref": _REF + names[reference.removeprefix(_REF)]}


def _whole(title: str, name: str, found: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    for model, definition in ((name, found), *definitions.items()):
        for key, setting in definition.get("properties", {}).items():
            named = (part["$ref"].removeprefix(_REF) for part in setting.get("anyOf", ()) if "$ref" in part)
            if "description" not in setting and (one := next(named, None)) is not None:
                setting["description"] = definitions[one].get("description", "")
            of_rules = name == "File" or model.startswith("rule")
            if "examples" not in setting and (given := example(model.removeprefix("rule_"), key, any_model=of_rules)):
                setting["examples"] = list(given)
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
        "description": {"type": "string", "description": "What the step is for."},
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
        if name.startswith("_bare_"):
            # A section of the settings that may be its main value alone.
            return {"anyOf": [{"type": "string"}, inner]}
        if name == "_size":
            from ..settings import SIZE

            text = {"type": "string", "pattern": rf"^\s*{SIZE.pattern}\s*$", "examples": ["4MiB"]}
            return {"anyOf": [{**inner, "minimum": 0}, text]}
        if name == "_pairs":
            return {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, inner["items"], inner]}
        if name in ("_listed", "listed") and "items" in inner:
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
        # `ge` is no word of JSON Schema; what it means is said where sizes are.
        tidied = {key: _tidy(value) for key, value in schema.items() if key != "ge" or isinstance(value, dict)}
        kinds = [kind.get("type") for kind in tidied.get("anyOf", [tidied]) if isinstance(kind, dict)]
        if "string" in kinds and isinstance(tidied.get("default"), float):
            tidied["default"] = f"{tidied['default']:g}s"
        return tidied
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    return schema
