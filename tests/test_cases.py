"""Every case of tests/cases and of the rules that ship, one test each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proxy.language.cases.playing import Stage
from proxy.language.problems import render
from proxy.services.rehearsal import rehearse
from tests.casefiles import FILES, each_file, name_of, prepared


def names_in(path: Path) -> list[str]:
    """Read what the cases of a file are called, without playing them; none of a file that cannot be read."""
    try:
        data = yaml.load(path.read_bytes(), yaml.CSafeLoader)
        return [str(case.get("name", position)) for position, case in enumerate(data["cases"])]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return []


def each_case() -> Iterator[object]:
    for path in FILES:
        for position, name in enumerate(names_in(path)):
            yield pytest.param(path, position, id=f"{name_of(path)}: {name}")


@each_file
def test_a_file_can_be_read_and_all_its_cases_are_played(path: Path) -> None:
    file = prepared(path)
    assert [render(problem, file.results.texts.get(problem.source)) for problem in file.results.problems] == []
    assert len(file.cases) == len(names_in(path)) > 0


@pytest.mark.parametrize(("path", "position"), list(each_case()))
def test_case(path: Path, position: int) -> None:
    case = prepared(path).cases[position]
    findings = case.findings
    if findings is None:
        assert case.ruleset is not None
        findings = Stage(case.ruleset, case.given, case.case, rehearse, case.limits).play().findings
    assert not findings, "\n".join(map(str, findings))


def test_every_action_has_a_case_file() -> None:
    from proxy.language.actions import ACTIONS

    assert {path.stem for path in FILES} >= set(ACTIONS)
