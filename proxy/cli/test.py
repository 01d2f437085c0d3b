"""`vestibule test`: run the test files beside the rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click

from ..language.cases import Outcome, Results, run_cases
from ..language.document import Source
from ..language.problems import render
from ..services.rulefiles import find_pack
from .output import stdout_has_color

EXIT_CONFIGURATION = 3


@click.command("test")
@click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-v", "--verbose", is_flag=True, help="Say which rules ran in each case.")
@click.option("--coverage", is_flag=True, help="Say which rules no case ran.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the outcomes as JUnit XML too.")
def command(rules: tuple[Path, ...], *, verbose: bool, coverage: bool, junit: Path | None) -> None:
    """Run test files with the engine that serves, a fixed clock and no network.

    RULES are test files (*.test.yaml), or folders with everything below them. Exits 1 when a case fails, 3 when a test
    file or its rules cannot be read.
    """
    files = list(dict.fromkeys(file for path in rules for file in _files(path)))
    if not files:
        click.echo("there is no *.test.yaml here", err=True)
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
    click.echo(f"{len(outcomes) - failed} passed, {failed} failed, in {len(files)} {'file' if len(files) == 1 else 'files'}")
    broken = any(results.problems.errors for results in all_results)
    sys.exit(EXIT_CONFIGURATION if broken else 1 if failed else 0)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for ending in ("yaml", "yml") for file in path.rglob(f"*.test.{ending}"))
    else:
        yield path


def _read(path: Path) -> Source | None:
    try:
        return Source(str(path), path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def run_file(file: Path) -> Results:
    """Run one test file; the rules that it names lie beside it."""
    source = _read(file)
    if source is None:
        click.echo(f"{file}: cannot be read", err=True)
        sys.exit(EXIT_CONFIGURATION)
    return run_cases(source, lambda name: _read(file.parent / name), lambda name: find_pack(name, [file]))


def _print(file: Path, results: Results, *, verbose: bool) -> None:
    color = stdout_has_color()
    source = _read(file)
    for problem in results.problems:
        click.echo(render(problem, source.text if source is not None else None, color=color))
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
            suite, "testcase", classname=outcome.file, name=outcome.name, file=outcome.file, line=str(outcome.line)
        )
        for finding in outcome.findings:
            ElementTree.SubElement(case, "failure", message=finding.splitlines()[0]).text = finding
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
