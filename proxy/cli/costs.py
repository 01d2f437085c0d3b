"""The costs of rules as a table for people and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import click

from .. import __version__
from ..language.cases.costs import CaseCost, Figure, Part, RuleCost, StepCost

_ENGINE = {
    "choosing": "choosing the rules",
    "opening": "opening bodies",
    "writing": "writing bodies",
    "rest": "the rest of the engine",
}
_HEAD = ("rule, step", "action", "runs", "µs", "low", "high", "share")
# The columns of words; the others are figures.
_WORDS = 2

_Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured of the cases; `rules` are the names of all that some case was to run."""

    cases: list[CaseCost]
    rules: tuple[str, ...]
    max_us: float | None = None

    @property
    def over(self) -> list[tuple[CaseCost, int, Figure]]:
        """The exchanges that cost more than they may, with their numbers in their cases."""
        if self.max_us is None:
            return []
        return [
            (case, number, figure)
            for case in self.cases
            for number, figure in enumerate(case.exchanges, start=1)
            if figure.us > self.max_us
        ]

    @property
    def not_run(self) -> list[str]:
        ran = {rule.name for case in self.cases for rule in case.rules}
        return [name for name in self.rules if name not in ran]


def spread(costs: Costs) -> float:
    """Give how wide the middle half of the plays of a case is, as a share of its median."""
    return median((case.whole.high - case.whole.low) / (case.whole.us or 1.0) for case in costs.cases)


def as_text(costs: Costs) -> str:
    """Write a table for each case, under the name of its file."""
    tables = [list(_rows(case)) for case in costs.cases]
    widths = [max(len(row[column]) for table in tables for row in (_HEAD, *table)) for column in range(len(_HEAD))]
    lines: list[str] = []
    file = ""
    for case, table in zip(costs.cases, tables, strict=True):
        if case.file != file:
            file = case.file
            lines += [*([""] if lines else []), click.style(file, bold=True)]
        count = len(case.exchanges)
        played = f"{case.plays} plays" if count == 1 else f"{case.plays} plays of {count} exchanges, figures for one"
        lines += ["", f"  {case.name} ({played})", f"  {click.style(_line(_HEAD, widths), dim=True)}"]
        lines += [f"  {_line(row, widths)}" for row in table]
        if count > 1:
            dearest = max(range(count), key=lambda index: case.exchanges[index].us)
            lines.append(f"  the dearest: exchange {dearest + 1}, {case.exchanges[dearest].us:.1f} µs")
    if len(costs.cases) > 1:
        lines += ["", click.style("each rule where it costs most", bold=True), "", *_dearest(costs)]
    if costs.not_run:
        lines += ["", f"no case here runs {', '.join(costs.not_run)}"]
    return "\n".join(lines) + "\n"


def _dearest(costs: Costs) -> list[str]:
    """List the rules by their cost in the case where it is highest."""
    most: dict[str, tuple[float, str]] = {}
    for case in costs.cases:
        for rule in case.rules:
            most[rule.name] = max(most.get(rule.name, (0.0, "")), (rule.figure.us, case.name))
    rows = [(name, f"{us:.1f} µs", where) for name, (us, where) in most.items()]
    rows.sort(key=lambda row: (-most[row[0]][0], row[0]))
    name, cost = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return [f"  {row[0]:<{name}}  {row[1]:>{cost}}  {row[2]}" for row in rows]


def _rows(case: CaseCost) -> Iterator[_Row]:
    parts = {part.name: part for part in case.engine}
    yield _row(_ENGINE["choosing"], "", parts["choosing"])
    for rule in case.rules:
        yield rule.name, "", "", *_figures(rule.figure), _percent(rule.share)
        for step in rule.steps:
            yield _row(f"  {step.name}", step.action, step)
    yield from (_row(_ENGINE[name], "", parts[name]) for name in ("opening", "writing"))
    yield _ENGINE["rest"], "", "", *_figures(parts["rest"].figure), _percent(parts["rest"].share)
    yield "the sum", "", "", *_figures(case.whole), _percent(1.0)


def _row(name: str, action: str, part: Part) -> _Row:
    return name, action, f"{part.runs:.2f}", *_figures(part.figure), _percent(part.share)


def _figures(figure: Figure) -> tuple[str, str, str]:
    return f"{figure.us:.1f}", f"{figure.low:.1f}", f"{figure.high:.1f}"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _line(row: _Row, widths: list[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(row[:_WORDS], widths, strict=False)]
    figures = [cell.rjust(width) for cell, width in zip(row[_WORDS:], widths[_WORDS:], strict=True)]
    return "  ".join((*words, *figures))


def as_data(costs: Costs) -> dict[str, Any]:
    """Give everything as plain data; times are microseconds for one exchange."""
    return {
        "vestibule": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "spread": round(spread(costs), 4),
        "max_us": costs.max_us,
        "over": [{"file": case.file, "case": case.name, "exchange": number} for case, number, _ in costs.over],
        "not_run": costs.not_run,
        "cases": [_case(case) for case in costs.cases],
    }


def _case(case: CaseCost) -> dict[str, Any]:
    return {
        "file": case.file,
        "line": case.line,
        "case": case.name,
        "plays": case.plays,
        "findings": list(case.findings),
        "sum": _plain(case.whole),
        "exchanges": [_plain(figure) for figure in case.exchanges],
        "engine": {part.name: _part(part) for part in case.engine},
        "rules": [_rule(rule) for rule in case.rules],
    }


def _rule(rule: RuleCost) -> dict[str, Any]:
    steps = [_step(step) for step in rule.steps]
    return {"rule": rule.name, **_plain(rule.figure), "share": round(rule.share, 4), "steps": steps}


def _step(step: StepCost) -> dict[str, Any]:
    place = {"step": step.name, "action": step.action, "phase": step.phase, "position": step.position}
    return {**place, **_part(step), "effects": step.effects}


def _part(part: Part) -> dict[str, Any]:
    return {**_plain(part.figure), "share": round(part.share, 4), "runs": part.runs}


def _plain(figure: Figure) -> dict[str, float]:
    return {"us": round(figure.us, 3), "low_us": round(figure.low, 3), "high_us": round(figure.high, 3)}
