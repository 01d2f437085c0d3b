"""`vestibule fmt`: what it writes, what it leaves alone, and how it ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import cli

ROUGH = "rules:\n- before: [{end: true}]  # early\n  name: 'a'\nversion: 1\n"
NEAT = "version: 1\nrules:\n  - name: a\n    before: [{end: true}]  # early\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["fmt", *map(str, arguments)])


@pytest.fixture
def rough(tmp_path: Path) -> Path:
    file = tmp_path / "a.yaml"
    file.write_text(ROUGH)
    return file


def test_a_file_is_laid_out_where_it_stands(rough: Path) -> None:
    rough.chmod(0o640)
    result = run(rough.parent)
    assert (result.exit_code, result.stdout) == (0, f"{rough}\n")
    assert rough.read_text() == NEAT
    assert stat.S_IMODE(rough.stat().st_mode) == 0o640
    assert os.listdir(rough.parent) == ["a.yaml"]
    assert run(rough).stdout == ""


def test_check_names_what_would_change_and_writes_nothing(rough: Path) -> None:
    result = run("--check", rough)
    assert (result.exit_code, result.stdout) == (1, f"{rough}\n")
    assert rough.read_text() == ROUGH
    rough.write_text(NEAT)
    assert run("--check", rough).exit_code == 0


def test_diff_shows_what_would_change_and_writes_nothing(rough: Path) -> None:
    result = run("--diff", rough)
    assert result.exit_code == 1
    assert "+version: 1\n" in result.stdout
    assert "-  name: 'a'\n" in result.stdout
    assert rough.read_text() == ROUGH


def test_a_link_stays_a_link(rough: Path) -> None:
    link = rough.parent / "folder" / "b.yaml"
    link.parent.mkdir()
    link.symlink_to(rough)
    assert run(link).exit_code == 0
    assert link.is_symlink()
    assert rough.read_text() == NEAT


def test_what_cannot_be_read_is_refused_with_its_place_and_left_alone(rough: Path) -> None:
    broken = rough.parent / "broken.yaml"
    broken.write_text("a: [\n")
    result = run(rough.parent)
    assert result.exit_code == 3
    assert f"{broken}:2:1: error[syntax]" in result.stderr
    assert "1 of 2 files changed, 1 cannot be read" in result.stderr
    assert broken.read_text() == "a: [\n"
    assert rough.read_text() == NEAT


def test_an_alias_stays_behind_its_anchor_where_another_order_would_part_them(tmp_path: Path) -> None:
    file = tmp_path / "a.test.yaml"
    text = "cases:\n  - name: a\n    expect: &e {response: {status: 200}}\n    request: *e\n"
    file.write_text(text)
    assert run(file).exit_code == 0
    assert file.read_text() == text


def test_hidden_files_and_packages_of_others_are_left_alone(rough: Path) -> None:
    for name in (".git", "node_modules"):
        folder = rough.parent / name
        folder.mkdir()
        (folder / "x.yaml").write_text(ROUGH)
    run(rough.parent)
    assert (rough.parent / ".git" / "x.yaml").read_text() == ROUGH
    assert (rough.parent / "node_modules" / "x.yaml").read_text() == ROUGH
