"""`vestibule test`: run the test files beside the rules."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import click

from ..language.cases import Coverage, Results, run_cases
from ..language.cases import update as updated
from ..services.rehearsal import rehearse
from ..services.rulefiles import find_pack
from .casefiles import EXIT_CONFIGURATION, find_test_files, read_test_file, rules_beside
from .coverage import gather, total
from .outcomes import Run, as_github, as_json, as_junit, as_text
from .output import stdout_has_color, write_over


@click.command("test")
@click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-v", "--verbose", is_flag=True, help="Say which rules ran in each case.")
@click.option("--coverage", is_flag=True, help="Say which rules and branches no case reached.")
@click.option(
    "--coverage-min",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit 1 when less of the rules is reached; says what is not.",
)
@click.option("--update", is_flag=True, help="Write what came into the test files as what is expected.")
@click.option("--watch", is_flag=True, help="Go on, and run again what a change touches, until Ctrl-C.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "github", "json"]),
    default="text",
    help="How the outcomes are printed.",
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the outcomes as JUnit XML too.")
def command(
    rules: tuple[Path, ...],
    *,
    verbose: bool,
    coverage: bool,
    coverage_min: float | None,
    update: bool,
    watch: bool,
    shape: str,
    junit: Path | None,
) -> None:
    """Run test files with the engine that serves, a fixed clock and no network.

    RULES are folders with everything below them, test files (*.test.yaml), or rule files with a test file beside them.
    Exits 1 when a case fails or too little is covered, 3 when a test file or its rules cannot be read.

    --coverage counts each rule, its `match` and its `when` both ways, each term of an `&&` or `||` both ways, each step
    and each `on_error: continue`.

    --update writes only where something is expected already, or where the place for it is empty; comments and all
    other lines stay as they are, and each change is named.
    """
    is_covered = coverage or coverage_min is not None

    def go(files: list[Path]) -> Run:
        run = run_files(files, rules, covered=is_covered)
        if update and _update(run):
            run = run_files(files, rules, covered=is_covered)
        _report(run, shape, verbose=verbose)
        if junit is not None:
            _write_junit(junit, run)
        return run

    run = go(find_test_files(rules))
    if watch:
        from .watching import watch_files

        watch_files(run, rules, go)
        return
    too_little = coverage_min is not None and run.coverage is not None and total(run.coverage).percent < coverage_min
    if too_little:
        click.echo(f"less of the rules is covered than {coverage_min:g} %", err=True)
    sys.exit(EXIT_CONFIGURATION if run.is_broken else 1 if run.failed or too_little else 0)


def run_files(files: list[Path], rules: tuple[Path, ...], *, covered: bool = False) -> Run:
    """Run test files, and gather what they cover of RULES where that is asked for."""
    found: list[tuple[Path, Results]] = []
    reached = []
    for file in files:
        coverage = Coverage() if covered else None
        found.append((file, run_file(file, coverage)))
        if coverage is not None:
            reached.append(coverage.reached)
    return Run(found, gather(reached, rules) if covered else None)


def run_file(file: Path, coverage: Coverage | None = None) -> Results:
    """Run one test file; the rules that it names lie beside it."""
    find = partial(rules_beside, file)
    return run_cases(
        read_test_file(file), find, lambda name: find_pack(name, [file]), rehearse, coverage, time.perf_counter
    )


def _report(run: Run, shape: str, *, verbose: bool) -> None:
    if shape == "text":
        color = stdout_has_color()
        click.echo(as_text(run, color=color, verbose=verbose), nl=False, color=color)
        return
    click.echo(as_json(run) if shape == "json" else as_github(run), nl=False)
    click.echo(run.summary(), err=True)


def _update(run: Run) -> bool:
    """Write what came into the test files; say whether anything was written."""
    written = False
    for file, results in run.files:
        fixes = [fix for outcome in results.outcomes for fix in outcome.fixes]
        if not fixes:
            continue
        source = read_test_file(file)
        found = updated(source, fixes)
        for change in found.changes:
            told = f"{change.old} -> {change.new}" if change.why is None else f"not written, as {change.why}"
            click.echo(f"{file}:{change.line}: {change.where}: {told}", err=True)
        if found.text != source.text:
            try:
                write_over(file, found.text)
            except OSError as error:
                click.echo(f"{file}: cannot be written: {error.strerror}", err=True)
                sys.exit(EXIT_CONFIGURATION)
            written = True
    return written


def _write_junit(path: Path, run: Run) -> None:
    try:
        as_junit(run).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        click.echo(f"{path}: cannot be written: {error.strerror}", err=True)
        sys.exit(EXIT_CONFIGURATION)
