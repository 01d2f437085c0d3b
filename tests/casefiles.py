"""The files of cases of tests/cases and of the rules that ship, each prepared once for all who play its cases.

Tests about one file run in one process, which has it prepared: they are told by its name in their ids (conftest.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from proxy.language.cases.runner import Prepared, Results, prepare
from proxy.language.document import Source
from proxy.services import rulefiles

ROOT = Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "tests" / "cases").glob("*.yaml")), *sorted((ROOT / "rules").glob("*/*.test.yaml"))]


@dataclass(frozen=True)
class CaseFile:
    """A file whose cases can be played."""

    results: Results
    cases: list[Prepared]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_file = pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in FILES])


def read(path: Path) -> Source | None:
    return Source(name_of(path), path.read_text("utf-8")) if path.is_file() else None


@lru_cache(maxsize=1)
def prepared(path: Path) -> CaseFile:
    """Read a file and build the rules of its cases."""
    source = read(path)
    assert source is not None

    def find_rules(name: str) -> list[Source] | None:
        sources, problems = rulefiles.read([path.parent / name])
        return None if problems.errors else sources

    results = Results(texts={source.name: source.text})
    cases = list(prepare(source, find_rules, lambda name: read(ROOT / "rules" / name / "pack.yaml"), results))
    return CaseFile(results, cases)
