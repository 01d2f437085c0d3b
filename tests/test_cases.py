"""Every case of tests/cases and of the rules that ship, one test each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from proxy.language.cases import Results, run_cases
from proxy.language.document import Source
from proxy.language.problems import render
from proxy.services import rulefiles
from proxy.services.rehearsal import rehearse

ROOT = Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "tests" / "cases").glob("*.yaml")), *sorted((ROOT / "rules").glob("*/*.test.yaml"))]


def read(path: Path) -> Source | None:
    return Source(str(path.relative_to(ROOT)), path.read_text("utf-8")) if path.is_file() else None


@cache
def results_of(path: Path) -> Results:
    source = read(path)
    assert source is not None

    def find_rules(name: str) -> list[Source] | None:
        sources, problems = rulefiles.read([path.parent / name])
        return None if problems.errors else sources

    return run_cases(source, find_rules, lambda name: read(ROOT / "rules" / name / "pack.yaml"), rehearse)


def names_in(path: Path) -> list[str]:
    """Read what the cases of a file are called, without playing them; none of a file that cannot be read."""
    try:
        data = yaml.load(path.read_bytes(), yaml.CSafeLoader)
        return [str(case.get("name", position)) for position, case in enumerate(data["cases"])]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return []


def each_case() -> Iterator[object]:
    for path in FILES:
        file = str(path.relative_to(ROOT))
        # A file is played by one process, once for all its cases.
        group = pytest.mark.xdist_group(file)
        for position, name in enumerate(names_in(path)):
            yield pytest.param(path, position, id=f"{file}: {name}", marks=group)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)), marks=pytest.mark.xdist_group(str(path.relative_to(ROOT))))
        for path in FILES
    ],
)
def test_a_file_can_be_read_and_all_its_cases_are_played(path: Path) -> None:
    results = results_of(path)
    assert [render(problem, results.texts.get(problem.source)) for problem in results.problems] == []
    assert len(results.outcomes) == len(names_in(path)) > 0


@pytest.mark.parametrize(("path", "position"), list(each_case()))
def test_case(path: Path, position: int) -> None:
    findings = results_of(path).outcomes[position].findings
    assert not findings, "\n".join(findings)


def test_every_action_has_a_case_file() -> None:
    from proxy.language.actions import ACTIONS

    assert {path.stem for path in FILES} >= set(ACTIONS)
