"""`vestibule test`: what it prints, which files it finds, and how it ends."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from proxy.cli import cli

RULES = """\
version: 1
rules:
  - name: stamp
    before: [{headers: {set: {x-stamp: "1"}}}]
  - name: refuse
    match: {path: /closed}
    before: [{deny: {reason: It is closed.}}]
"""
GOOD = """\
rules: [stamp.yaml]
cases:
  - name: a request is stamped
    request: {path: /open}
    expect: {upstream: {headers: {x-stamp: "1"}}}
"""
BAD = """\
rules: [stamp.yaml]
cases:
  - name: the wrong number
    request: {path: /open}
    expect: {upstream: {headers: {x-stamp: "2"}}}
  - name: another body
    request: {path: /open}
    upstream: {json: {a: 1, b: [1, 2]}}
    expect: {response: {json: {a: 1, b: [1, 3]}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stamp.yaml").write_text(RULES)
    (tmp_path / "stamp.test.yaml").write_text(GOOD)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["test", *map(str, arguments)])


def test_every_case_is_named_and_counted(folder: Path) -> None:
    result = run(folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        str(folder / "stamp.test.yaml"),
        "  ok     a request is stamped",
        "1 passed, 0 failed, in 1 file",
    ]


def test_a_failure_says_where_and_what_differs(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD)
    result = run(folder)
    assert result.exit_code == 1
    assert "  FAILED the wrong number\n" in result.stdout
    place = folder / "bad.test.yaml"
    assert f"    {place}:3: upstream.headers.x-stamp: expected ['2'], got ['1']\n" in result.stdout
    diff = result.stdout[result.stdout.index(f"{place}:6: response.json:") :].splitlines()
    assert [line.strip() for line in diff if line.strip().startswith(("+", "-"))] == ["-    3", "+    2"]
    assert result.stdout.endswith("1 passed, 2 failed, in 2 files\n")


def test_a_rule_file_stands_for_the_test_file_beside_it(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD)
    assert run(folder / "stamp.yaml").exit_code == 0
    assert run(folder / "stamp.yaml", folder / "stamp.test.yaml").stdout.endswith("1 passed, 0 failed, in 1 file\n")


def test_a_test_file_may_have_any_name_when_it_is_given_by_it(folder: Path) -> None:
    (folder / "cases.yaml").write_text(GOOD)
    assert run(folder / "cases.yaml").exit_code == 0


def test_test_files_are_found_in_all_folders_below_but_hidden_ones(folder: Path) -> None:
    for name in ("below", ".hidden", "node_modules"):
        (folder / name).mkdir()
        (folder / name / "more.test.yml").write_text(GOOD.replace("stamp.yaml", "../stamp.yaml"))
    result = run(folder)
    assert result.exit_code == 0
    assert str(folder / "below" / "more.test.yml") in result.stdout
    assert result.stdout.endswith("2 passed, 0 failed, in 2 files\n")


def test_a_folder_of_rules_is_tested_as_it_is_served(folder: Path) -> None:
    (folder / "a-first.yaml").write_text("version: 1\nrules: [{name: first, before: [{set: {seen: true}}]}]\n")
    (folder / "all.test.yaml").write_text(
        "rules: [.]\ncases: [{name: all, request: {path: /open}, expect: {rules: {ran: [first, stamp]}}}]\n"
    )
    result = run(folder / "all.test.yaml")
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "  ok     all")


def test_rules_that_do_not_load_are_shown_in_their_file(folder: Path) -> None:
    (folder / "stamp.yaml").write_text(RULES.replace("headers", "haeders"))
    result = run(folder)
    assert result.exit_code == 3
    assert f"{folder / 'stamp.yaml'}:4:15: error[unknown-action]" in result.stdout
    assert 'before: [{haeders: {set: {x-stamp: "1"}}}]' in result.stdout
    assert "did you mean 'headers'" in result.stdout


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("cases: [{name: a, reqest: {path: /}}]\n", "1:19", "unknown-key"),
        ("cases: [\n", "", "syntax"),
        ("cases: []\n", "1:8", ""),
        ("rules: [none.yaml]\ncases: [{name: a, request: {path: /}}]\n", "1:9", "unreadable-file"),
    ],
    ids=["an unknown key", "no YAML", "no case", "rules that are not there"],
)
def test_a_broken_test_file_is_named_with_its_place(folder: Path, text: str, place: str, code: str) -> None:
    broken = folder / "stamp.test.yaml"
    broken.write_text(text)
    result = run(folder)
    assert result.exit_code == 3
    assert f"{broken}:{place}" in result.stdout
    assert f"error[{code}" in result.stdout


def test_a_folder_without_test_files_is_no_success(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 3
    assert "no test file" in result.stderr


def test_a_test_file_that_is_not_utf8_is_named(folder: Path) -> None:
    (folder / "stamp.test.yaml").write_bytes(b"cases: [\xff]\n")
    result = run(folder)
    assert result.exit_code == 3
    assert "not UTF-8" in result.stderr


def test_verbose_says_which_rules_ran(folder: Path) -> None:
    assert "           ran stamp\n" in run("-v", folder).stdout


def test_coverage_names_the_rules_that_no_case_ran(folder: Path) -> None:
    result = run("--coverage", folder)
    assert result.exit_code == 0
    assert "1 of 2 rules ran in some case\n  no case runs refuse\n" in result.stdout


def test_a_rule_in_shadow_counts_as_run(folder: Path) -> None:
    (folder / "stamp.yaml").write_text(
        RULES.replace("  - name: refuse\n    match: {path: /closed}", "  - name: refuse\n    mode: shadow")
    )
    assert "2 of 2 rules ran" in run("--coverage", folder).stdout


def test_junit_has_every_case_with_its_failure(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD.replace("name: another body", r'name: "another \x1b body"'))
    report = folder / "report.xml"
    assert run("--junit", report, folder).exit_code == 1
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == ["the wrong number", "another \ufffd body", "a request is stamped"]
    assert cases["the wrong number"].get("line") == "3"
    failure = cases["the wrong number"].find("failure")
    assert failure is not None
    assert failure.get("message") == "upstream.headers.x-stamp: expected ['2'], got ['1']"
    assert len(cases["a request is stamped"]) == 0


def test_a_report_that_cannot_be_written_is_said(folder: Path) -> None:
    result = run("--junit", folder / "none" / "report.xml", folder)
    assert result.exit_code == 3
    assert "cannot be written" in result.stderr
