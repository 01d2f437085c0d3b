"""Every case of tests/cases and of the rules that ship, one test each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.language.cases import Results, run_cases
from proxy.language.document import Source
from proxy.language.problems import render
from proxy.services import rulefiles
from proxy.services.rehearsal import rehearse

ROOT = Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "tests" / "cases").glob("*.yaml")), *sorted((ROOT / "rules").glob("*/*.test.yaml"))]


def read(path: Path) -> Source | None:
    return Source(str(path.relative_to(ROOT)), path.read_text("utf-8")) if path.is_file() else None


def results_of(path: Path) -> Results:
    source = read(path)
    assert source is not None

    def find_rules(name: str) -> list[Source] | None:
        sources, problems = rulefiles.read([path.parent / name])
        return None if problems.errors else sources

    return run_cases(source, find_rules, lambda name: read(ROOT / "rules" / name / "pack.yaml"), rehearse)


def collect() -> Iterator[object]:
    for path in FILES:
        name = str(path.relative_to(ROOT))
        results = results_of(path)
        told = [render(problem, results.texts.get(problem.source)) for problem in results.problems]
        yield pytest.param(tuple(told), id=f"{name} can be read")
        for outcome in results.outcomes:
            yield pytest.param(outcome.findings, id=f"{name}: {outcome.name}")


@pytest.mark.parametrize("findings", list(collect()))
def test_case(findings: tuple[str, ...]) -> None:
    assert not findings, "\n".join(findings)


def test_every_action_has_a_case_file() -> None:
    from proxy.language.actions import ACTIONS

    assert {path.stem for path in FILES} >= set(ACTIONS)
