"""Test files as commands meet them: which there are, and what is shown of those that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from ..language.cases import Results
from ..language.document import Source
from ..language.problems import render
from ..services.rulefiles import read
from .output import stdout_has_color

EXIT_CONFIGURATION = 3
_ENDINGS = (".test.yaml", ".test.yml")


def find_test_files(paths: Iterable[Path]) -> list[Path]:
    """Find test files: in folders with everything below them, or by name, or beside a rule file; none is the end."""
    files = test_files(paths)
    if not files:
        click.echo("there is no test file here: cases stand in *.test.yaml beside the rules", err=True)
        sys.exit(EXIT_CONFIGURATION)
    return files


def test_files(paths: Iterable[Path]) -> list[Path]:
    """Find test files, or none."""
    return list(dict.fromkeys(file for path in paths for file in _files(path)))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = (file for ending in _ENDINGS for file in path.rglob(f"*{ending}"))
        yield from sorted(file for file in found if not _is_hidden(file.relative_to(path)))
        return
    beside = path.with_name(f"{path.stem}.test{path.suffix}")
    yield beside if not path.name.endswith(_ENDINGS) and beside.is_file() else path


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "node_modules" for part in path.parts)


def read_test_file(file: Path) -> Source:
    """Read a test file; one that cannot be read is the end."""
    try:
        return Source(str(file), file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        click.echo(f"{file}: cannot be read: {why}", err=True)
        sys.exit(EXIT_CONFIGURATION)


def rules_beside(file: Path, name: str) -> list[Source] | None:
    """Read the rules that a test file names, which lie beside it."""
    sources, problems = read([file.parent / name])
    return None if problems.errors else sources


def show_problems(results: Results) -> None:
    """Print the problems of a test file and of its rules."""
    color = stdout_has_color()
    for problem in results.problems:
        click.echo(render(problem, results.texts.get(problem.source), color=color))
