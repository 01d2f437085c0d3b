"""The problems of a check as text for people, JSON, GitHub annotations and SARIF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..language.problems import CODES, Problem, Problems, render


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `texts` are the files' by name, for the lines that are shown."""

    problems: Problems
    texts: Mapping[str, str]
    files: int

    def summary(self) -> str:
        counted = f"{_count(len(self.problems.errors), 'error')}, {_count(len(self.problems.warnings), 'warning')}"
        return (
            f"{counted} in {_count(self.files, 'file')}"
            if len(self.problems)
            else f"{_count(self.files, 'file')}: no problem"
        )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _text(report: Report, color: bool) -> str:
    shown = [render(problem, report.texts.get(problem.source), color=color) for problem in report.problems]
    return "".join(f"{one}\n\n" for one in shown)


def _json(report: Report, _color: bool) -> str:
    problems = [as_data(problem) for problem in report.problems]
    found = {
        "errors": len(report.problems.errors),
        "warnings": len(report.problems.warnings),
        "files": report.files,
        "problems": problems,
    }
    return json.dumps(found, indent=2) + "\n"


def as_data(problem: Problem) -> dict[str, Any]:
    """Give a problem as JSON has it."""
    return {
        "file": problem.source,
        "line": problem.line,
        "column": problem.column,
        "end_column": problem.end,
        "severity": problem.severity,
        "code": problem.code,
        "text": problem.text,
        "suggestion": problem.suggestion,
    }


def _github(report: Report, _color: bool) -> str:
    """Write workflow commands; GitHub counts columns of one line from 1, as problems do."""
    return "".join(
        annotation(
            problem.severity,
            _words(problem),
            file=problem.source,
            line=problem.line,
            endLine=problem.line,
            col=problem.column,
            endColumn=problem.end,
            title=problem.code,
        )
        for problem in report.problems
    )


def annotation(kind: str, text: str, **properties: str | int) -> str:
    """Write a line that GitHub shows where it is about: an `error`, a `warning` or a `notice`."""
    written = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{kind} {written}::{_data(text)}\n"


def _words(problem: Problem) -> str:
    if problem.suggestion is None:
        return problem.text
    return f"{problem.text}; did you mean {problem.suggestion!r}?"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif(report: Report, _color: bool) -> str:
    codes = sorted({problem.code for problem in report.problems})
    driver = {
        "name": "vestibule",
        "version": __version__,
        "rules": [{"id": code, "shortDescription": {"text": CODES.get(code, code)}} for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem, codes) for problem in report.problems],
    }
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(log, indent=2) + "\n"


def _result(problem: Problem, codes: list[str]) -> dict[str, Any]:
    region = {"startLine": problem.line, "startColumn": problem.column, "endColumn": problem.end}
    location = {"artifactLocation": {"uri": quote(problem.source, errors="surrogateescape")}, "region": region}
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.severity,
        "message": {"text": _words(problem)},
        "locations": [{"physicalLocation": location}],
    }


FORMATS: Mapping[str, Callable[[Report, bool], str]] = {
    "text": _text,
    "json": _json,
    "github": _github,
    "sarif": _sarif,
}
