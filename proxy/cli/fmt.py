"""`vestibule fmt`: one layout for rule and test files, so that no review is about white space."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ..language.document import Document, Source, load
from ..language.layout import canonical, comments_of
from ..language.problems import Problems, render
from ..services.rulefiles import read_text, yaml_files
from .casefiles import EXIT_CONFIGURATION
from .output import stdout_has_color, write_over


@dataclass(frozen=True, slots=True)
class Formatted:
    """A file, and what it would be; None when it cannot be read, and then the problems say why."""

    source: Source
    text: str | None
    problems: Problems

    @property
    def changes(self) -> bool:
        return self.text is not None and self.text != self.source.text


@click.command("fmt")
@click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Write nothing; name the files that would change, exit 1.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change, exit 1 if anything would.")
def command(rules: tuple[Path, ...], *, only_check: bool, diff: bool) -> None:
    """Lay out rule files, test files and packs in the one way: order of keys, indentation, quotes.

    RULES are files, or folders with everything below them. Comments are kept, and what a file means never changes. A
    file that cannot be read is left as it is, its problems are shown, and the exit code is 3.
    """
    color = stdout_has_color()
    broken = changed = total = 0
    for file in yaml_files(rules):
        total += 1
        formatted = _format(file)
        if formatted.text is None:
            broken += 1
            for problem in formatted.problems:
                click.echo(render(problem, formatted.source.text, color=color), err=True)
        elif formatted.changes:
            changed += 1
            if diff:
                click.echo("".join(_diff(formatted.source, formatted.text, color=color)), nl=False, color=color)
                continue
            click.echo(str(file))
            if not only_check:
                _write(file, formatted.text)
    words = "would change" if only_check or diff else "changed"
    unread = f", {broken} cannot be read" if broken else ""
    click.echo(f"{changed} of {total} {'file' if total == 1 else 'files'} {words}{unread}", err=True)
    sys.exit(EXIT_CONFIGURATION if broken else 1 if changed and (only_check or diff) else 0)


def _format(file: Path) -> Formatted:
    problems = Problems()
    source = read_text(file, problems)
    if source is None:
        return Formatted(Source(str(file), ""), None, problems)
    return format_source(source, problems)


def format_source(source: Source, problems: Problems) -> Formatted:
    """Lay out a text; what would not mean the same is not taken."""
    document = load(source, problems)
    if document is None or problems.errors:
        return Formatted(source, None, problems)
    # An alias must stand behind its anchor: where another order of keys would change that, theirs is kept.
    for reorder in (True, False):
        text = canonical(source.text, reorder=reorder)
        if _means_the_same(document, text) and sorted(comments_of(text)) == sorted(comments_of(source.text)):
            return Formatted(source, text, problems)
    problems.error("unreadable-file", "this cannot be laid out without changing it", source.name, document.mark(()))
    return Formatted(source, None, problems)


def _means_the_same(document: Document, text: str) -> bool:
    problems = Problems()
    again = load(Source(document.source.name, text), problems)
    return again is not None and not problems.errors and _spelled(again.data) == _spelled(document.data)


def _spelled(data: object) -> object:
    """Give data in which numbers are told apart by their spelling, and by their type."""
    if isinstance(data, dict):
        return {key: _spelled(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_spelled(item) for item in data]
    return type(data), getattr(data, "source", data)


def _diff(source: Source, text: str, *, color: bool) -> Iterator[str]:
    tones = {"+": "32", "-": "31", "@": "36"}
    lines: Iterable[str] = difflib.unified_diff(
        source.text.splitlines(keepends=True), text.splitlines(keepends=True), source.name, source.name
    )
    for line in lines:
        whole = line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        tone = tones.get(line[0])
        yield f"\x1b[{tone}m{whole.rstrip()}\x1b[0m\n" if color and tone else whole


def _write(file: Path, text: str) -> None:
    """Put a text where the old one is, whole or not at all; a link stays a link."""
    try:
        write_over(file, text)
    except OSError as error:
        click.echo(f"{file}: cannot be written: {error.strerror}", err=True)
        sys.exit(EXIT_CONFIGURATION)
