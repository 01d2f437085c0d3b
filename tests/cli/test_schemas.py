"""The schemas that editors read: whole, valid, and of what the files hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy.cli.examples import EXAMPLES
from proxy.cli.init import KINDS
from proxy.cli.schema import SCHEMAS
from proxy.language.document import Source, load, plain
from proxy.language.problems import Problems
from tests.running import run_command

PROJECT = Path(__file__).parents[2]
TESTS = [*sorted((PROJECT / "rules").rglob("*.test.yaml")), *sorted((PROJECT / "tests" / "cases").glob("*.yaml"))]


@cache
def schema_of(kind: str) -> dict[str, Any]:
    return SCHEMAS[kind]()


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give every key of a schema with its model."""
    for model, definition in (("", schema), *schema["$defs"].items()):
        for key, one in definition.get("properties", {}).items():
            yield model, key, one


def data(file: Path) -> Any:
    document = load(Source(str(file), file.read_text("utf-8")), Problems())
    assert document is not None
    return plain(document.data)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_key_says_what_it_means(kind: str) -> None:
    schema = schema_of(kind)

    def told(one: dict[str, Any]) -> bool:
        return "description" in one or "description" in schema["$defs"].get(one.get("$ref", "").rpartition("/")[2], {})

    assert [f"{model}.{key}" for model, key, one in keys(schema) if not told(one)] == []


def test_every_key_of_rules_has_an_example_or_a_list_of_what_it_may_be() -> None:
    def shown(one: dict[str, Any]) -> bool:
        parts = [one, *one.get("anyOf", ())]
        return any("examples" in part or "enum" in part or part.get("type") == "boolean" for part in parts)

    assert [f"{model}.{key}" for model, key, one in keys(schema_of("rules")) if not shown(one)] == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_example_is_right(kind: str) -> None:
    schema = schema_of(kind)
    for model, key, one in keys(schema):
        check = jsonschema.Draft202012Validator({**one, "$defs": schema["$defs"]})
        for example in one.get("examples", ()):
            assert [error.message for error in check.iter_errors(example)] == [], f"{model}.{key}"


def test_no_example_is_left_over() -> None:
    known = {key for kind in SCHEMAS for _, key, _ in keys(schema_of(kind))}
    assert {name.rpartition(".")[2] for name in EXAMPLES} <= known


@pytest.mark.parametrize("file", TESTS, ids=lambda file: str(file.relative_to(PROJECT)))
def test_test_files_hold_to_their_schema(file: Path) -> None:
    given = data(file)
    check = jsonschema.Draft202012Validator(schema_of("tests"))
    # Cases that are about a mistake have it in their rules.
    given["cases"] = [case for case in given["cases"] if "error" not in case]
    if given["cases"]:
        assert [error.message for error in check.iter_errors(given)] == []


def test_a_key_that_no_test_file_has_is_found() -> None:
    check = jsonschema.Draft202012Validator(schema_of("tests"))
    case = {"name": "a", "request": {"path": "/"}, "expect": {"response": {"statsu": 1}}}
    assert [list(error.absolute_path) for error in check.iter_errors({"cases": [case]})] != []


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_of_a_new_folder_names_the_schema_that_it_holds_to(kind: str, tmp_path: Path) -> None:
    assert run_command("init", kind, tmp_path)[0] == 0
    files = sorted(tmp_path.rglob("*.yaml"))
    assert len(files) > 4
    for file in files:
        first = file.read_text("utf-8").splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        schema = data(file.parent / first.partition("=")[2])
        assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(data(file))] == [], file
