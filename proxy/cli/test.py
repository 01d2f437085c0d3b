"""`vestibule test`: run the test files beside the rules."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click

from ..language.cases import Outcome, Results, run_cases
from ..language.document import Source
from ..language.problems import render
from ..services.rehearsal import rehearse
from ..services.rulefiles import find_pack, read
from .output import stdout_has_color

EXIT_CONFIGURATION = 3
_ENDINGS = (".test.yaml", ".test.yml")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@click.command("test")
@click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-v", "--verbose", is_flag=True, help="Say which rules ran in each case.")
@click.option("--coverage", is_flag=True, help="Say which rules no case ran.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the outcomes as JUnit XML too.")
def command(rules: tuple[Path, ...], *, verbose: bool, coverage: bool, junit: Path | None) -> None:
    """Run test files with the engine that serves, a fixed clock and no network.

    RULES are folders with everything below them, test files (*.test.yaml), or rule files with a test file beside them.
    Exits 1 when a case fails, 3 when a test file or its rules cannot be read.
    """
    files = list(dict.fromkeys(file for path in rules for file in _files(path)))
    if not files:
        click.echo("there is no test file here: cases stand in *.test.yaml beside the rules", err=True)
        sys.exit(EXIT_CONFIGURATION)
    all_results: list[Results] = []
    for file in files:
        results = run_file(file)
        all_results.append(results)
        _print(file, results, verbose=verbose)
    outcomes = [outcome for results in all_results for outcome in results.outcomes]
    if coverage:
        _print_coverage(all_results)
    if junit is not None:
        _write_junit(junit, outcomes)
    failed = sum(not outcome.ok for outcome in outcomes)
    click.echo(
        f"{len(outcomes) - failed} passed, {failed} failed, in {len(files)} {'file' if len(files) == 1 else 'files'}"
    )
    broken = any(results.problems.errors for results in all_results)
    sys.exit(EXIT_CONFIGURATION if broken else 1 if failed else 0)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = (file for ending in _ENDINGS for file in path.rglob(f"*{ending}"))
        yield from sorted(file for file in found if not _is_hidden(file.relative_to(path)))
        return
    beside = path.with_name(f"{path.stem}.test{path.suffix}")
    yield beside if not path.name.endswith(_ENDINGS) and beside.is_file() else path


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "node_modules" for part in path.parts)


def run_file(file: Path) -> Results:
    """Run one test file; the rules that it names lie beside it."""
    try:
        source = Source(str(file), file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        click.echo(f"{file}: cannot be read: {why}", err=True)
        sys.exit(EXIT_CONFIGURATION)

    def find_rules(name: str) -> list[Source] | None:
        sources, problems = read([file.parent / name])
        return None if problems.errors else sources

    return run_cases(source, find_rules, lambda name: find_pack(name, [file]), rehearse)


def _print(file: Path, results: Results, *, verbose: bool) -> None:
    color = stdout_has_color()
    for problem in results.problems:
        click.echo(render(problem, results.texts.get(problem.source), color=color))
    if results.outcomes:
        click.echo(str(file))
    for outcome in results.outcomes:
        mark = click.style("ok    ", fg="green") if outcome.ok else click.style("FAILED", fg="red", bold=True)
        click.echo(f"  {mark} {outcome.name}", color=color)
        if verbose and outcome.ran:
            click.echo(f"           ran {', '.join(outcome.ran)}")
        for finding in outcome.findings:
            click.echo(f"    {outcome.file}:{outcome.line}: {finding}")


def _print_coverage(all_results: list[Results]) -> None:
    known = dict.fromkeys(name for results in all_results for name in results.rules)
    ran = {name for results in all_results for outcome in results.outcomes for name in outcome.ran}
    missed = [name for name in known if name not in ran]
    click.echo(f"{len(known) - len(missed)} of {len(known)} rules ran in some case")
    for name in missed:
        click.echo(f"  no case runs {name}")


def _write_junit(path: Path, outcomes: list[Outcome]) -> None:
    failed = sum(not outcome.ok for outcome in outcomes)
    suite = ElementTree.Element("testsuite", name="vestibule", tests=str(len(outcomes)), failures=str(failed))
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=outcome.file,
            name=_xml(outcome.name),
            file=outcome.file,
            line=str(outcome.line),
        )
        if not outcome.ok:
            told = _xml("\n".join(outcome.findings))
            ElementTree.SubElement(case, "failure", message=told.splitlines()[0]).text = told
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        click.echo(f"{path}: cannot be written: {error.strerror}", err=True)
        sys.exit(EXIT_CONFIGURATION)


def _xml(text: str) -> str:
    """Replace what XML 1.0 cannot hold, not even escaped."""
    return _NOT_XML.sub("\ufffd", text)
