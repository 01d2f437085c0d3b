"""`vestibule check`: what it prints in which format, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import cli
from proxy.language.problems import CODES

FIVE = """\
version: 1
rules:
  - name: one
    match: {pth: /login}
    before:
      - hedaers: {set: {x-a: b}}
      - headers: {set: {x-a: "${request.metod}"}}
      - deny: {statsu: 403}
    mode: shadwo
"""
GOOD = """\
version: 1
rules:
  - name: one
    before: [{headers: {set: {x-a: "${request.method}"}}}]
"""
WARNED = """\
version: 1
rules:
  - name: one
    after: [{headers: {set: {x-a: "${response.body.token}"}}}]
"""


def check(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)], env=environment)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def test_five_mistakes_in_one_file_are_all_named_with_line_and_column(rules: Path) -> None:
    rules.write_text(FIVE, encoding="utf-8")
    done = check(rules)
    assert done.exit_code == 1
    found = re.findall(r"^(.*):(\d+):(\d+): error\[([a-z-]+)\]", done.stdout, re.MULTILINE)
    assert [(int(line), int(column), code) for _, line, column, code in found] == [
        (4, 13, "unknown-key"),
        (6, 9, "unknown-action"),
        (7, 41, "unknown-member"),
        (8, 16, "unknown-key"),
        (9, 11, "wrong-value"),
    ]
    assert {name for name, *_ in found} == {str(rules)}
    for meant in ("path", "headers", "method", "status", "shadow"):
        assert f"did you mean '{meant}'?" in done.stdout
    assert done.stderr == "5 errors, 0 warnings in 1 file\n"


def test_rules_without_a_problem_end_with_0_and_nothing_on_stdout(rules: Path) -> None:
    rules.write_text(GOOD, encoding="utf-8")
    done = check(rules)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "1 file: no problem\n")


def test_warnings_alone_end_with_0_and_with_1_when_strict(rules: Path) -> None:
    rules.write_text(WARNED, encoding="utf-8")
    assert "warning[unguarded-response]" in check(rules).stdout
    assert check(rules).exit_code == 0
    assert check(rules, "--strict").exit_code == 1


def test_the_settings_of_a_working_folder_are_checked_as_settings(tmp_path: Path, rules: Path) -> None:
    rules.write_text(GOOD, encoding="utf-8")
    settings = tmp_path / "vestibule.yaml"
    settings.write_text("listen: 127.0.0.1:8080\nupstream: sandbox:kibo\n", encoding="utf-8")
    done = check(tmp_path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "2 files: no problem\n")
    settings.write_text("store: reddis://user:test-only@host\nworkrs: 2\n", encoding="utf-8")
    done = check(tmp_path)
    assert done.exit_code == 1
    assert f"{settings}:1:8: error" in done.stdout
    assert f"{settings}:2:1: error[unknown-key]" in done.stdout
    assert "did you mean 'workers'?" in done.stdout
    assert "test-only" not in done.stdout + done.stderr


def test_problems_of_all_files_are_found_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FIVE, encoding="utf-8")
    (tmp_path / "b.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "c.yaml").write_bytes(b"\xff")
    done = check(tmp_path, "--format", "json")
    found = json.loads(done.stdout)
    assert {Path(one["file"]).name for one in found["problems"]} == {"a.yaml", "b.yaml", "c.yaml"}


def test_a_mistake_in_a_pack_is_shown_in_the_pack(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pack.yaml").write_text("name: own\noperatoins: {}\n", encoding="utf-8")
    (tmp_path / "rules.yaml").write_text("version: 1\npacks: [own]\n", encoding="utf-8")
    done = check(tmp_path / "rules.yaml")
    assert f"{tmp_path / 'own' / 'pack.yaml'}:2:1: error[unknown-key]" in done.stdout
    assert " 2 | operatoins: {}" in done.stdout


def test_a_file_that_is_not_there_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    done = check(tmp_path / "no.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""


def test_no_files_is_a_mistake_of_the_caller() -> None:
    assert check().exit_code == 2


def test_a_secret_that_is_not_there_is_only_a_warning(rules: Path, tmp_path: Path) -> None:
    text = """\
version: 1
rules:
  - name: one
    before: [{headers: {set: {x-a: "${secret:test_only}"}}}]
"""
    rules.write_text(text, encoding="utf-8")
    done = check(rules)
    assert done.exit_code == 0
    assert "warning[missing-secret]" in done.stdout
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "test_only").write_text("test-only-test-only-test-only-00", encoding="utf-8")
    assert check(rules, "--secrets", secrets).stdout == ""


def test_json_has_every_part_of_a_problem(rules: Path) -> None:
    rules.write_text(FIVE, encoding="utf-8")
    done = check(rules, "--format", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["errors"], found["warnings"], found["files"]) == (5, 0, 1)
    assert found["problems"][0] == {
        "file": str(rules),
        "line": 4,
        "column": 13,
        "end_column": 16,
        "severity": "error",
        "code": "unknown-key",
        "text": "there is no key 'pth' here",
        "suggestion": "path",
    }


def test_github_gets_one_command_a_problem(rules: Path) -> None:
    rules.write_text(FIVE, encoding="utf-8")
    lines = check(rules, "--format", "github").stdout.splitlines()
    assert len(lines) == 5
    assert lines[0] == (
        f"::error file={rules},line=4,endLine=4,col=13,endColumn=16,title=unknown-key::"
        "there is no key 'pth' here; did you mean 'path'?"
    )


def test_github_commands_cannot_be_forged(tmp_path: Path) -> None:
    rules = tmp_path / "a,title=x::b\n.yaml"
    rules.write_text("version: 1\nrules: []\n'50%': 1\n", encoding="utf-8")
    (line,) = check(rules, "--format", "github").stdout.splitlines()
    assert "a%2Ctitle=x%3A%3Ab%0A.yaml" in line
    assert "'50%25'" in line


def test_sarif_names_the_rules_and_the_places(rules: Path) -> None:
    rules.write_text(FIVE, encoding="utf-8")
    found = json.loads(check(rules, "--format", "sarif").stdout)
    assert found["version"] == "2.1.0"
    (run,) = found["runs"]
    assert run["columnKind"] == "unicodeCodePoints"
    described = {one["id"]: one["shortDescription"]["text"] for one in run["tool"]["driver"]["rules"]}
    for result in run["results"]:
        assert described[result["ruleId"]] == CODES[result["ruleId"]]
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    first = run["results"][0]
    assert first["level"] == "error"
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": str(rules)},
        "region": {"startLine": 4, "startColumn": 13, "endColumn": 16},
    }


@pytest.mark.parametrize("shape", ["text", "json", "github", "sarif"])
def test_a_format_stays_whole_when_there_is_no_problem(rules: Path, shape: str) -> None:
    rules.write_text(GOOD, encoding="utf-8")
    done = check(rules, "--format", shape)
    assert done.exit_code == 0
    if shape in ("json", "sarif"):
        assert json.loads(done.stdout)
    else:
        assert done.stdout == ""


def test_what_is_no_terminal_gets_no_colours(rules: Path) -> None:
    rules.write_text(FIVE, encoding="utf-8")
    assert "\x1b" not in check(rules).stdout
