"""`vestibule test`: run the test files beside the rules."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import click

from ..language.cases import Outcome, Results, run_cases
from ..services.rehearsal import rehearse
from ..services.rulefiles import find_pack
from .casefiles import EXIT_CONFIGURATION, find_test_files, read_test_file, rules_beside, show_problems
from .output import stdout_has_color

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
    files = find_test_files(rules)
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


def run_file(file: Path) -> Results:
    """Run one test file; the rules that it names lie beside it."""
    return run_cases(read_test_file(file), partial(rules_beside, file), lambda name: find_pack(name, [file]), rehearse)


def _print(file: Path, results: Results, *, verbose: bool) -> None:
    color = stdout_has_color()
    show_problems(results)
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
