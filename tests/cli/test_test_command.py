"""`vestibule test`: what it prints, which files it finds, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from proxy.cli import cli
from tests.running import PATIENCE, ROOT, Lines

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
    assert f"    {place}:6: response.json.b[1]: expected 3, got 2\n" in result.stdout
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


def test_coverage_names_what_no_case_reached(folder: Path) -> None:
    result = run("--coverage", folder)
    assert result.exit_code == 0
    file = folder / "stamp.yaml"
    assert result.stdout.splitlines()[2:] == [
        f"{file}: 60.0 %, 1 of 2 rules, 2 of 3 branches",
        f"  {file}:5:11: refuse: the rule never ran",
        f"  {file}:7:15: refuse: before[0].deny never ran",
        "coverage: 60.0 %, 1 of 2 rules, 2 of 3 branches",
        "1 passed, 0 failed, in 1 file",
    ]


def test_a_rule_file_without_cases_is_not_covered(folder: Path) -> None:
    (folder / "alone.yaml").write_text("version: 1\nrules: [{name: alone, before: [{end: true}]}]\n")
    assert f"{folder / 'alone.yaml'}: 0.0 %, 0 of 1 rules, 0 of 1 branches\n" in run("--coverage", folder).stdout
    assert "alone" not in run("--coverage", folder / "stamp.test.yaml").stdout


def test_one_file_that_several_test_files_name_differently_is_covered_once(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "more.test.yaml").write_text(
        "rules: [../stamp.yaml]\ncases: [{name: a, request: {path: /closed}, expect: {response: {status: 403}}}]\n"
    )
    result = run("--coverage", folder)
    assert f"{folder / 'stamp.yaml'}: 100.0 %, 2 of 2 rules, 3 of 3 branches\n" in result.stdout
    assert "never" not in result.stdout


def test_too_little_coverage_is_a_finding(folder: Path) -> None:
    result = run("--coverage-min", "61", folder)
    assert (result.exit_code, result.stderr) == (1, "less of the rules is covered than 61 %\n")
    assert "refuse: the rule never ran" in result.stdout
    assert run("--coverage-min", "60", folder).exit_code == 0


def test_a_rule_in_shadow_counts_as_run(folder: Path) -> None:
    (folder / "stamp.yaml").write_text(
        RULES.replace("  - name: refuse\n    match: {path: /closed}", "  - name: refuse\n    mode: shadow")
    )
    assert "100.0 %, 2 of 2 rules, 2 of 2 branches" in run("--coverage", folder).stdout


def test_junit_has_every_case_with_its_failure(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD.replace("name: another body", r'name: "another \x1b body"'))
    report = folder / "report.xml"
    assert run("--junit", report, folder).exit_code == 1
    root = ElementTree.parse(report).getroot()
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "3", "2", "0")
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        (str(folder / "bad.test.yaml"), "2", "2"),
        (str(folder / "stamp.test.yaml"), "1", "0"),
    ]
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert list(cases) == ["the wrong number", "another \ufffd body", "a request is stamped"]
    assert cases["the wrong number"].get("line") == "3"
    failure = cases["the wrong number"].find("failure")
    assert failure is not None
    assert failure.get("message") == "upstream.headers.x-stamp: expected ['2'], got ['1']"
    assert len(cases["a request is stamped"]) == 0


def test_junit_tells_of_rules_that_do_not_load(folder: Path) -> None:
    (folder / "stamp.yaml").write_text(RULES.replace("headers", "haeders"))
    report = folder / "report.xml"
    assert run("--junit", report, folder).exit_code == 3
    root = ElementTree.parse(report).getroot()
    assert (root.get("tests"), root.get("errors")) == ("2", "1")
    (error,) = root.iter("error")
    assert error.get("type") == "unknown-action"


# What Jenkins' xUnit plugin asks of a report (junit-10.xsd): elements in their order, attributes that must be there.
CHILDREN = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "error"}}
NEEDED = {
    "testsuites": set[str](),
    "testsuite": {"name", "tests", "failures", "errors", "time"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
}


def test_junit_is_what_its_readers_want(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD)
    (folder / "worse.test.yaml").write_text("cases: [{nam: x}]\n")
    report = folder / "report.xml"
    run("--junit", report, folder)
    for element in ElementTree.parse(report).getroot().iter():
        assert NEEDED[element.tag] <= set(element.keys())
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        assert all(float(element.get(name, "0")) >= 0 for name in ("time", "tests", "failures", "errors", "skipped"))


def test_json_tells_expected_and_got_apart(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD)
    result = run("--format", "json", "--coverage", folder)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["passed"], told["failed"]) == (1, 1, 2)
    case = told["files"][0]["cases"][1]
    assert (case["name"], case["line"], case["ok"], case["ran"]) == ("another body", 6, False, ["stamp"])
    text = "response.json.b[1]: expected 3, got 2"
    assert case["findings"] == [{"text": text, "where": "response.json.b[1]", "expected": "3", "got": "2"}]
    assert told["coverage"]["rules"] == {"reached": 1, "all": 2}
    assert told["coverage"]["files"][0]["missed"][0]["text"] == "the rule never ran"


def test_github_shows_failures_where_their_cases_stand(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(BAD)
    file = folder / "bad.test.yaml"
    assert run("--format", "github", folder).stdout.splitlines() == [
        f"::error file={file},line=3,title=the wrong number::upstream.headers.x-stamp: expected ['2'], got ['1']",
        f"::error file={file},line=6,title=another body::response.json.b[1]: expected 3, got 2",
    ]


def test_update_writes_what_came_and_leaves_every_other_byte(folder: Path) -> None:
    file = folder / "bad.test.yaml"
    file.write_text(f"# Cases.\n{BAD}    # The end.\n")
    result = run("--update", folder)
    assert (result.exit_code, "3 passed" in result.stdout) == (0, True)
    wanted = BAD.replace('x-stamp: "2"', 'x-stamp: "1"').replace("{a: 1, b: [1, 3]}", "{a: 1, b: [1, 2]}")
    assert file.read_text() == f"# Cases.\n{wanted}    # The end.\n"
    assert result.stderr.splitlines() == [
        f'{file}:6: expect.upstream.headers.x-stamp: "2" -> "1"',
        f"{file}:10: expect.response.json: {{a: 1, b: [1, 3]}} -> {{a: 1, b: [1, 2]}}",
    ]
    assert run("--update", folder).stderr == ""


@contextmanager
def watching(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `vestibule test --watch` in a folder until the test is over."""
    command = [sys.executable, "-m", "proxy", "test", "--watch", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_watch_runs_what_a_change_touches_and_ends_without_a_failure(folder: Path) -> None:
    (folder / "other.yaml").write_text("version: 1\nrules: [{name: other, before: [{end: true}]}]\n")
    (folder / "other.test.yaml").write_text("rules: [other.yaml]\ncases: [{name: other, request: {path: /}}]\n")
    with watching(folder) as process:
        out, err = Lines(process.stdout), Lines(process.stderr)

        def told() -> str:
            text = ""
            while "passed" not in text:
                text += out.next("a summary")
            assert "waiting for changes" in err.next("that it waits")
            return text

        assert told().endswith("2 passed, 0 failed, in 2 files\n")
        (folder / "stamp.yaml").write_text(RULES.replace('"1"', '"7"'))
        changed = told()
        assert "expected ['1'], got ['7']" in changed
        assert changed.endswith("0 passed, 1 failed, in 1 file\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert err.rest() == ""


def test_a_report_that_cannot_be_written_is_said(folder: Path) -> None:
    result = run("--junit", folder / "none" / "report.xml", folder)
    assert result.exit_code == 3
    assert "cannot be written" in result.stderr
