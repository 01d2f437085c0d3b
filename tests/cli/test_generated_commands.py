"""`vestibule schema` and `vestibule reference`, and how results are written."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from proxy.cli import cli
from proxy.cli.reference import BEGIN, END
from proxy.language.actions import ACTIONS
from proxy.language.problems import CODES

BROKEN = "version: 1\nruels: []\n"


def test_schema_prints_a_json_schema() -> None:
    done = CliRunner().invoke(cli, ["schema"])
    assert done.exit_code == 0
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["version"]


def test_the_schema_offers_each_action_where_it_may_stand() -> None:
    definitions = json.loads(CliRunner().invoke(cli, ["schema"]).stdout)["$defs"]
    for name in ACTIONS:
        for phase in ("before", "after", "continue"):
            offered = name in definitions[f"step_{phase}"]["properties"]
            assert offered == (phase in ACTIONS[name].phases), (name, phase)


def test_reference_prints_every_action_and_every_code() -> None:
    done = CliRunner().invoke(cli, ["reference"])
    assert done.exit_code == 0
    for name in ACTIONS:
        assert f"\n#### `{name}`\n" in done.stdout
    for code in CODES:
        assert f"\n| `{code}` | " in done.stdout


def test_every_setting_of_every_action_is_described() -> None:
    lines = CliRunner().invoke(cli, ["reference"]).stdout.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| `") and line.count(" | ") >= 3]
    assert len(rows) > 50
    assert [row[0] for row in rows if row[-1].strip(" |") == "" and not row[0].startswith("| `patch")] == []


def test_reference_is_written_between_the_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nAfter\n", encoding="utf-8")
    assert CliRunner().invoke(cli, ["reference", "--into", str(page)]).exit_code == 0
    written = page.read_text(encoding="utf-8")
    assert written.startswith(f"# Before\n{BEGIN}\n\n### ")
    assert written.endswith(f"\n{END}\nAfter\n")
    assert "\nold\n" not in written
    assert CliRunner().invoke(cli, ["reference", "--into", str(page)]).exit_code == 0
    assert page.read_text(encoding="utf-8") == written


@pytest.mark.parametrize("text", ["# no marks\n", f"{BEGIN}\n", f"{END}\n"])
def test_reference_does_not_touch_a_page_without_marks(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert CliRunner().invoke(cli, ["reference", "--into", str(page)]).exit_code == 2
    assert page.read_text(encoding="utf-8") == text


def on_a_terminal(rules: Path, **environment: str) -> bytes:
    """Run a check whose stdout is a terminal."""
    ours, theirs = pty.openpty()
    try:
        clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
        command = [sys.executable, "-m", "proxy", "check", str(rules)]
        subprocess.run(
            command, stdout=theirs, stderr=subprocess.DEVNULL, env={**clean, **environment}, timeout=60, check=False
        )
        return os.read(ours, 1 << 16)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_gets_colours_unless_they_are_not_wanted(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(BROKEN, encoding="utf-8")
    assert b"\x1b[" in on_a_terminal(rules, TERM="xterm")
    assert b"\x1b[" not in on_a_terminal(rules, TERM="xterm", NO_COLOR="1")
    assert b"\x1b[" not in on_a_terminal(rules, TERM="dumb")


@pytest.mark.parametrize("shape", ["text", "json", "github", "sarif"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_is_not_utf_8_and_a_narrow_terminal_break_no_report(
    tmp_path: Path, shape: str, encoding: str
) -> None:
    rules = os.fsencode(tmp_path) + b"/r\xff\xc3\xa9.yaml"
    with open(rules, "w", encoding="utf-8") as file:
        file.write(BROKEN + "\u00e9: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "check", "--format", shape, rules],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stdout.count(b"unknown-key") >= 2
