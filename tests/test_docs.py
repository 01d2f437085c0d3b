"""What the documents say is so: generated files are current, examples load, commands exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.cli import COMMANDS
from proxy.cli.check import check
from proxy.cli.reference import BEGIN, END, insert
from proxy.cli.reports import FORMATS
from proxy.cli.schema import rule_file_schema
from proxy.language.cases.model import CaseFile
from proxy.language.compile import Options, build
from proxy.language.document import Source, load, plain
from proxy.language.problems import Problems
from proxy.language.variables import request, response
from proxy.services.rulefiles import find_pack, read

PROJECT = Path(__file__).parent.parent
PAGES = ["README.md", "rules/README.md", "proxy/README.md", "tests/README.md", "deploy/THREAT_MODEL.md"]


def text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def examples() -> list[Any]:
    found = []
    for page in PAGES:
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text(page), re.DOTALL), start=1):
            found.append(pytest.param(block, id=f"{page}-{number}"))
    return found


def test_the_schema_file_is_current() -> None:
    assert json.loads(text("rules/schema.json")) == rule_file_schema(), "run `make docs`"


def test_the_reference_is_current() -> None:
    page = text("rules/README.md")
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == insert(page), "run `make docs`"


@pytest.mark.parametrize("block", [one for one in examples() if "version: 1" in one.values[0]])
def test_an_example_of_rules_loads_without_a_problem(block: str) -> None:
    options = Options(secrets=lambda _: None, packs=lambda name: find_pack(name, ()))
    built = build([Source("example.yaml", block)], options)
    assert list(built.problems) == []
    jsonschema.validate(yaml.safe_load(block), rule_file_schema())


@pytest.mark.parametrize("block", [one for one in examples() if "cases:" in one.values[0]])
def test_an_example_of_cases_is_a_test_file(block: str) -> None:
    document = load(Source("example.test.yaml", block), Problems())
    assert document is not None
    assert CaseFile.model_validate(document.data).cases


def test_the_mistake_that_the_readme_shows_is_reported_like_that(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```text\nrules/login.yaml:(.*?)\n```", text("README.md"), re.DOTALL)
    rules = tmp_path / "login.yaml"
    rules.write_text(
        "version: 1\nrules:\n  - name: x\n    match:\n      path: /x\n    before:\n      - end: true\n"
        "      - deny: {statsu: 403}\n",
        encoding="utf-8",
    )
    assert FORMATS["text"](check((rules,)), False).strip() == f"{rules}:{shown}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_exist(page: str) -> None:
    named = set(re.findall(r"(?m)(?:`|^)vestibule ([a-z]+)\b", text(page)))
    assert named <= COMMANDS.keys()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_on_the_front_page(name: str) -> None:
    assert f"| `vestibule {name}` |" in text("README.md")


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_that_a_page_names_exist(page: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", text("Makefile")))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=`|  )", text(page))) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    folder = (PROJECT / page).parent
    for link in re.findall(r"\]\(([^)#]+)\)", text(page)):
        assert "://" in link or (folder / link).exists(), link


def test_every_name_of_a_message_is_explained() -> None:
    page = text("rules/README.md")
    for root, variable in (("request", request()), ("response", response())):
        for name in variable.members or {}:
            assert f"`{root}.{name}" in page, f"{root}.{name}"


@pytest.mark.parametrize("file", sorted((PROJECT / "tests" / "cases").glob("*.yaml")), ids=lambda file: str(file.name))
def test_the_schema_takes_what_the_language_takes(file: Path) -> None:
    """A schema that is stricter than the language would underline what is right."""
    document = load(Source(file.name, file.read_text(encoding="utf-8")), Problems())
    assert document is not None
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    for rules in rule_files(document.data):
        build_problems = build([Source("x", json.dumps(rules))], Options(lambda _: "x", lambda n: find_pack(n, ())))
        if build_problems.problems.errors:
            continue
        assert [error.message for error in validator.iter_errors(rules)] == []


def test_the_schema_takes_the_rules_that_ship() -> None:
    sources, problems = read([PROJECT / "rules"])
    assert list(problems) == []
    assert len(sources) >= 1
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    for source in sources:
        document = load(source, Problems())
        assert document is not None
        assert [error.message for error in validator.iter_errors(plain(document.data))] == [], source.name


def rule_files(data: Any) -> list[dict[str, Any]]:
    """Give the rule files inside a case file: its own rules, and those of a case."""
    found = []
    for part in [data, *(data.get("cases") or [])]:
        if isinstance(part, dict) and isinstance(part.get("rules"), list):
            keys = ("packs", "configuration", "rules")
            found.append({"version": 1, **{key: plain(part[key]) for key in keys if key in part}})
    return [one for one in found if all(isinstance(rule, dict) for rule in one["rules"])]


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"name": "x", "bfore": []}, ["rules", 0]),
        ({"name": "x", "before": [{"hedaers": {}}]}, ["rules", 0, "before", 0]),
        ({"name": "x", "before": [{"end": True, "deny": {}}]}, ["rules", 0, "before", 0]),
        ({"name": "x", "before": [{"select": "a"}]}, ["rules", 0, "before", 0]),
        ({"name": "x", "before": [{"deny": {"status": 99}}]}, ["rules", 0, "before", 0, "deny", "status"]),
        ({"name": "x", "mode": "shdow"}, ["rules", 0, "mode"]),
        ({"match": {}}, ["rules", 0]),
    ],
)
def test_the_schema_refuses_what_the_language_refuses(rule: dict[str, Any], place: list[str | int]) -> None:
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    found = [list(error.absolute_path) for error in validator.iter_errors({"version": 1, "rules": [rule]})]
    assert place in found
