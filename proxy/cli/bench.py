"""`vestibule bench`: what each rule and step costs on the exchanges of test cases."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from ..language.cases import Prepared, Results, prepare
from ..language.cases.costs import CaseCost, measure
from ..language.document import Source
from ..language.problems import nearest
from ..services.rehearsal import rehearse
from ..services.rulefiles import find_pack, read
from .casefiles import EXIT_CONFIGURATION, find_test_files, read_test_file, rules_beside, show_problems
from .costs import Costs, as_data, as_text, spread
from .output import stdout_has_color

# From here on the figures say more about the machine than about the rules.
_NOISY = 0.1


@click.command("bench")
@click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--case", "names", multiple=True, help="Only the cases whose name has this text in it; may be repeated.")
@click.option(
    "--samples",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Play the cases of this test file on RULES as they are served, whatever rules it names.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600),
    default=5.0,
    show_default=True,
    help="How long to measure, all cases together.",
)
@click.option(
    "--max-us",
    type=click.FloatRange(0, min_open=True),
    help="Exit 1 when an exchange costs more microseconds than this. Machines differ: be generous.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    rules: tuple[Path, ...],
    *,
    names: tuple[str, ...],
    samples: Path | None,
    seconds: float,
    max_us: float | None,
    as_json: bool,
) -> None:
    """Say what each rule and step costs, in microseconds for one exchange.

    The exchanges are those of the test files: RULES are folders with everything below them, test files (*.test.yaml),
    or rule files with a test file beside them. With --samples they are those of that file, and RULES are rules.
    A figure is the median of many plays; between `low` and `high` lies the middle half of them.

    Exits 1 when a case does not go as it says or an exchange costs more than --max-us, 3 when a test file or its rules
    cannot be read.
    """
    found: list[Prepared] = []
    all_results: list[Results] = []
    for results, cases in _prepared(rules, samples):
        all_results.append(results)
        found += cases
    if any(results.problems.errors for results in all_results):
        for results in all_results:
            show_problems(results)
        sys.exit(EXIT_CONFIGURATION)
    if not found:
        click.echo("no case here has an exchange to play", err=True)
        sys.exit(EXIT_CONFIGURATION)
    measured = measure(_named(found, names), rehearse, clock=time.perf_counter_ns, seconds=seconds)
    # Who asks for a case does not ask what the others run.
    sets = [one.ruleset for one in found if one.ruleset is not None and not names]
    known = dict.fromkeys(rule.name for ruleset in sets for rule in ruleset.rules)
    costs = Costs(measured, tuple(known), max_us)
    if as_json:
        click.echo(json.dumps(as_data(costs), indent=2))
    else:
        click.echo(as_text(costs), nl=False, color=stdout_has_color())
    _note(costs)
    sys.exit(1 if costs.over or any(case.findings for case in measured) else 0)


def _prepared(rules: Sequence[Path], samples: Path | None) -> list[tuple[Results, list[Prepared]]]:
    """Give each file with its cases that have an exchange to play."""
    served: list[Source] | None = None
    first = Results()
    if samples is not None:
        served, first.problems = read(rules)
        first.texts = {source.name: source.text for source in served}
    prepared = [(first, list[Prepared]())]
    for file in [samples] if samples is not None else find_test_files(rules):
        source = read_test_file(file)
        results = Results(texts={source.name: source.text})
        find = partial(find_pack, near=[file] if samples is None else rules)
        cases = list(prepare(source, partial(rules_beside, file), find, results, served=served))
        prepared.append((results, [case for case in cases if case.findings is None and case.ruleset is not None]))
    return prepared


def _named(cases: list[Prepared], names: Sequence[str]) -> list[Prepared]:
    """Give the cases that were asked for; a name that none has is a mistake in the call."""
    known = [case.case.name for case in cases]
    for name in names:
        if not any(name.lower() in one.lower() for one in known):
            hint = nearest(name, known)
            raise click.UsageError(f"no case is called {name!r}" + (f"; did you mean {hint!r}?" if hint else ""))
    return [case for case in cases if not names or any(name.lower() in case.case.name.lower() for name in names)]


def _note(costs: Costs) -> None:
    """Say what the figures are worth, and what is wrong."""
    for case in costs.cases:
        for finding in case.findings:
            click.echo(f"{case.file}:{case.line}: {case.name}: it does not go as it says: {finding}", err=True)
    for case, number, figure in costs.over:
        click.echo(
            f"{case.file}:{case.line}: {case.name}: {_which(case, number)} costs {figure.us:.1f} µs,"
            f" more than --max-us {costs.max_us:g}",
            err=True,
        )
    noise = spread(costs)
    click.echo(f"between low and high of a case lie {noise:.0%} of its median", err=True)
    if noise > _NOISY:
        click.echo("that is much: the machine does other work, and another run will give other figures", err=True)


def _which(case: CaseCost, number: int) -> str:
    return f"exchange {number} of {len(case.exchanges)}" if len(case.exchanges) > 1 else "its exchange"
