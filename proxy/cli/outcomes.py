"""How cases went: as text for people, GitHub annotations, JSON, and JUnit XML for machines that build."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

from ..language.cases import Finding, Outcome, Results
from ..language.problems import render
from .coverage import FileCoverage
from .coverage import as_data as coverage_data
from .coverage import as_text as coverage_text
from .reports import FORMATS, Report, annotation
from .reports import as_data as problem_data

# A finding that is longer is told on three lines.
_LINE = 110
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Run:
    """Test files that were run, with what they came to; `coverage` where it was asked for."""

    files: Sequence[tuple[Path, Results]]
    coverage: list[FileCoverage] | None = None

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for _, results in self.files for outcome in results.outcomes]

    @property
    def failed(self) -> int:
        return sum(not outcome.ok for outcome in self.outcomes)

    @property
    def is_broken(self) -> bool:
        return any(results.problems.errors for _, results in self.files)

    def summary(self) -> str:
        count = len(self.files)
        passed = len(self.outcomes) - self.failed
        return f"{passed} passed, {self.failed} failed, in {count} {'file' if count == 1 else 'files'}"


def as_text(run: Run, *, color: bool, verbose: bool) -> str:
    """Tell each case, and of those that failed each value that differs."""
    lines: list[str] = []
    for file, results in run.files:
        lines += [render(problem, results.texts.get(problem.source), color=color) for problem in results.problems]
        lines += [str(file)] if results.outcomes else []
        for outcome in results.outcomes:
            mark = click.style("ok    ", fg="green") if outcome.ok else click.style("FAILED", fg="red", bold=True)
            lines.append(f"  {mark if color else click.unstyle(mark)} {outcome.name}")
            if verbose and outcome.ran:
                lines.append(f"           ran {', '.join(outcome.ran)}")
            for finding in outcome.findings:
                lines += _told(f"    {outcome.file}:{outcome.line}: ", finding, color=color)
    if run.coverage is not None:
        lines += coverage_text(run.coverage)
    return "\n".join((*lines, run.summary())) + "\n"


def _told(place: str, finding: Finding, *, color: bool) -> list[str]:
    if finding.where is None or finding.expected is None or finding.got is None:
        return [f"{place}{finding}"]
    expected = click.style(finding.expected, fg="green") if color else finding.expected
    got = click.style(finding.got, fg="red") if color else finding.got
    if len(finding) <= _LINE:
        return [f"{place}{finding.where}: expected {expected}, got {got}"]
    return [f"{place}{finding.where}:", f"      expected {expected}", f"      got      {got}"]


def as_github(run: Run) -> str:
    """Annotate the lines of cases that fail, and of rules that no case reached."""
    lines = [
        FORMATS["github"](Report(results.problems, results.texts, 1), False) for _, results in run.files
    ]  # fmt: skip
    lines += [
        annotation("error", finding, file=outcome.file, line=outcome.line, title=outcome.name)
        for outcome in run.outcomes
        for finding in outcome.findings
    ]
    missed = [branch for one in run.coverage or () for branch in one.missed]
    lines += [
        annotation("notice", one.text, file=one.file, line=one.line, col=one.column, title=f"{one.rule}: no case")
        for one in missed
    ]
    return "".join(lines)


def as_json(run: Run) -> str:
    """Tell all of it."""
    files = [
        {
            "file": str(file),
            "problems": [problem_data(problem) for problem in results.problems],
            "cases": [_case(outcome) for outcome in results.outcomes],
        }
        for file, results in run.files
    ]
    told = {"passed": len(run.outcomes) - run.failed, "failed": run.failed, "files": files}
    if run.coverage is not None:
        told["coverage"] = coverage_data(run.coverage)
    return json.dumps(told, indent=2) + "\n"


def _case(outcome: Outcome) -> dict[str, Any]:
    findings = [
        {"text": str(finding), "where": finding.where, "expected": finding.expected, "got": finding.got}
        for finding in outcome.findings
    ]
    ran = list(outcome.ran)
    return {"name": outcome.name, "line": outcome.line, "ok": outcome.ok, "ran": ran, "findings": findings}


def as_junit(run: Run) -> ElementTree.ElementTree[ElementTree.Element]:
    """Give the outcomes in the form that Jenkins, GitLab and GitHub's reporters read: one suite a file."""
    root = ElementTree.Element("testsuites", name="vestibule")
    for file, results in run.files:
        suite = ElementTree.SubElement(root, "testsuite", name=str(file))
        for outcome in results.outcomes:
            case = _testcase(suite, outcome.file, outcome.name, outcome.line, outcome.seconds)
            if not outcome.ok:
                told = _xml("\n".join(outcome.findings))
                failure = ElementTree.SubElement(case, "failure", message=told.splitlines()[0], type="difference")
                failure.text = told
        for problem in results.problems.errors:
            case = _testcase(suite, problem.source, f"{problem.source}:{problem.line}", problem.line, 0.0)
            error = ElementTree.SubElement(case, "error", message=_xml(problem.text), type=problem.code)
            error.text = _xml(render(problem, results.texts.get(problem.source)))
        _count(suite, [suite], sum(outcome.seconds for outcome in results.outcomes))
    _count(root, list(root), sum(outcome.seconds for outcome in run.outcomes))
    return ElementTree.ElementTree(root)


def _testcase(suite: ElementTree.Element, file: str, name: str, line: int, seconds: float) -> ElementTree.Element:
    # The path as a class name is what reporters group by.
    attributes = {"classname": file, "name": _xml(name), "time": f"{seconds:.6f}", "file": file, "line": str(line)}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _count(element: ElementTree.Element, suites: list[ElementTree.Element], seconds: float) -> None:
    cases = [case for suite in suites for case in suite]
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", str(sum(case.find("error") is not None for case in cases)))
    element.set("skipped", "0")
    element.set("time", f"{seconds:.6f}")


def _xml(text: str) -> str:
    """Replace what XML 1.0 cannot hold, not even escaped."""
    return _NOT_XML.sub("\ufffd", text)
