"""`vestibule bench`: what it tells, of which cases, and how it ends. No figure is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import cli

RULES = """\
version: 1
rules:
  - name: stamp
    match: {path: /open}
    before:
      - {headers: {set: {x-stamp: "1"}}}
      - {name: closed doors, when: "request.method == 'PUT'", deny: {reason: It is closed.}}
    after:
      - body: {set: {seen: true}}
  - name: refuse
    match: {path: /closed}
    before: [{deny: {reason: It is closed.}}]
"""
CASES = """\
rules: [stamp.yaml]
cases:
  - name: a request is stamped
    request: {path: /open}
    upstream: {json: {a: 1}}
    expect: {upstream: {headers: {x-stamp: "1"}}, response: {json: {a: 1, seen: true}}}
  - name: so are two
    exchanges: [{request: {path: /open}, upstream: {json: {a: 1}}, repeat: 2}]
  - name: an unknown action is an error
    rules: [{name: r, before: [{stmap: 1}]}]
    error: unknown-action
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stamp.yaml").write_text(RULES)
    (tmp_path / "stamp.test.yaml").write_text(CASES)
    return tmp_path


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", "--seconds", "0", *map(str, arguments)])


def data(*arguments: str | Path) -> dict[str, Any]:
    result = bench("--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_table_has_every_step_of_the_rules_that_ran_and_what_the_engine_does(folder: Path) -> None:
    result = bench(folder, "--case", "is stamped")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:3] == [str(folder / "stamp.test.yaml"), "", "  a request is stamped (5 plays)"]
    assert lines[3].split() == ["rule,", "step", "action", "runs", "µs", "low", "high", "share"]
    told = [line.split("  ")[1] or "  " + line.split()[0] for line in lines[4:]]
    assert told == [
        "choosing the rules", "stamp", "  before[0].headers", "  closed", "  after[0].body",
        "opening bodies", "writing bodies", "the rest of the engine", "the sum",
    ]  # fmt: skip
    assert len({len(line) for line in lines[3:]}) == 1


def test_several_exchanges_are_counted_and_the_dearest_is_named(folder: Path) -> None:
    result = bench(folder, "--case", "SO ARE")
    assert "  so are two (5 plays of 2 exchanges, figures for one)\n" in result.stdout
    assert "  the dearest: exchange " in result.stdout


def test_all_cases_end_with_the_rules_by_their_cost_and_those_that_no_case_runs(folder: Path) -> None:
    lines = bench(folder).stdout.splitlines()
    start = lines.index("each rule where it costs most")
    assert [line.split()[0] for line in lines[start + 2 : start + 3]] == ["stamp"]
    assert lines[-1] == "no case here runs refuse"


def test_a_case_about_a_load_error_has_nothing_to_measure(folder: Path) -> None:
    assert [case["case"] for case in data(folder)["cases"]] == ["a request is stamped", "so are two"]


def test_json_has_stable_keys(folder: Path) -> None:
    found = data(folder)
    assert list(found) == ["vestibule", "python", "spread", "max_us", "over", "not_run", "cases"]
    assert (found["max_us"], found["over"], found["not_run"]) == (None, [], ["refuse"])
    case = found["cases"][0]
    assert list(case) == ["file", "line", "case", "plays", "findings", "sum", "exchanges", "engine", "rules"]
    assert (case["file"], case["line"], case["plays"]) == (str(folder / "stamp.test.yaml"), 3, 5)
    figure = ["us", "low_us", "high_us"]
    assert list(case["sum"]) == figure
    assert list(case["engine"]) == ["choosing", "opening", "writing", "rest"]
    assert all(list(part) == [*figure, "share", "runs"] for part in case["engine"].values())
    (rule,) = case["rules"]
    assert list(rule) == ["rule", *figure, "share", "steps"]
    assert list(rule["steps"][0]) == ["step", "action", "phase", "position", *figure, "share", "runs", "effects"]
    assert [(step["step"], step["action"], step["phase"], step["runs"]) for step in rule["steps"]] == [
        ("before[0].headers", "headers", "before", 1),
        ("closed doors", "deny", "before", 0),
        ("after[0].body", "body", "after", 1),
    ]
    assert rule["steps"][1]["position"] == f"{folder / 'stamp.yaml'}:7"


def test_counts_and_shares_agree(folder: Path) -> None:
    for case in data(folder)["cases"]:
        assert case["engine"]["choosing"]["runs"] == case["engine"]["opening"]["runs"] == 1
        assert case["engine"]["writing"]["runs"] == 1
        shares = [part["share"] for part in (*case["engine"].values(), *case["rules"])]
        assert sum(shares) == pytest.approx(1, abs=0.001)
        assert len(case["exchanges"]) == (2 if case["case"] == "so are two" else 1)


def test_samples_are_played_on_the_rules_that_are_served(folder: Path) -> None:
    (folder / "more.yaml").write_text("version: 1\nrules: [{name: more, after: [{headers: {set: {x-more: '1'}}}]}]\n")
    sample = folder / "sample.test.yaml"
    sample.write_text("cases: [{name: a login, request: {path: /open}, upstream: {json: {a: 1}}}]\n")
    found = data(folder, "--samples", sample)
    assert [(case["case"], [rule["rule"] for rule in case["rules"]]) for case in found["cases"]] == [
        ("a login", ["more", "stamp"])
    ]


def test_an_exchange_that_costs_more_than_it_may_is_a_finding(folder: Path) -> None:
    result = bench(folder, "--max-us", "0.001")
    assert result.exit_code == 1
    place = f"{folder / 'stamp.test.yaml'}:7: so are two: "
    assert f"{place}exchange 2 of 2 costs " in result.stderr
    assert "more than --max-us 0.001" in result.stderr
    assert bench(folder, "--max-us", "1e9").exit_code == 0


def test_a_case_that_does_not_go_as_it_says_is_a_finding(folder: Path) -> None:
    (folder / "stamp.test.yaml").write_text(CASES.replace('x-stamp: "1"', 'x-stamp: "2"'))
    result = bench(folder)
    assert result.exit_code == 1
    told = "a request is stamped: it does not go as it says: upstream.headers.x-stamp: expected ['2'], got ['1']"
    assert f"{folder / 'stamp.test.yaml'}:3: {told}" in result.stderr


def test_an_unknown_case_is_a_mistake_and_gets_the_one_that_was_meant(folder: Path) -> None:
    result = bench(folder, "--case", "a reqest is stamped")
    assert result.exit_code == 2
    assert "no case is called 'a reqest is stamped'; did you mean 'a request is stamped'?" in result.stderr


def test_rules_that_do_not_load_are_shown_in_their_file(folder: Path) -> None:
    (folder / "stamp.yaml").write_text(RULES.replace("{headers:", "{haeders:"))
    for arguments in ([folder], [folder, "--samples", folder / "stamp.test.yaml"]):
        result = bench(*arguments)
        assert result.exit_code == 3
        assert f"{folder / 'stamp.yaml'}:6:10: error[unknown-action]" in result.stdout
        assert "did you mean 'headers'" in result.stdout


def test_samples_on_a_folder_without_rules_are_an_error(folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    result = bench(empty, "--samples", folder / "stamp.test.yaml")
    assert result.exit_code == 3
    assert "there is no rule file here" in result.stdout


def test_without_a_test_file_or_an_exchange_there_is_nothing_to_measure(folder: Path) -> None:
    (folder / "stamp.test.yaml").write_text(
        "cases: [{name: a, rules: [{name: r, before: [{x: 1}]}], error: unknown-action}]\n"
    )
    result = bench(folder)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no case here has an exchange to play" in result.stderr
    (folder / "stamp.test.yaml").unlink()
    result = bench(folder)
    assert result.exit_code == 3
    assert "no test file" in result.stderr
