"""What the cases of all test files together reached of the rules, per file and whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..language.cases import Branch, branches_of
from ..language.compile import Draft, Options, build
from ..services.rulefiles import find_pack, read


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """The branches of a rule file, each with whether a case reached it."""

    file: str
    branches: Mapping[Branch, bool]

    @property
    def missed(self) -> list[Branch]:
        return [branch for branch, reached in self.branches.items() if not reached]

    def counts(self, kind: str) -> tuple[int, int]:
        """Count what was reached, and all, of one kind."""
        found = [reached for branch, reached in self.branches.items() if branch.kind == kind]
        return sum(found), len(found)

    @property
    def percent(self) -> float:
        return 100.0 * sum(self.branches.values()) / len(self.branches) if self.branches else 100.0


def gather(reached: Iterable[Mapping[Branch, bool]], rules: Iterable[Path]) -> list[FileCoverage]:
    """Put together what each test file reached, and what of the rules in the folders given none is about."""
    known: dict[str, dict[tuple[int, int, str], tuple[Branch, bool]]] = {}
    for branches in (*reached, *_untested(rules)):
        for branch, held in branches.items():
            # One file may be named in several ways.
            file = known.setdefault(os.path.realpath(branch.file), {})
            place = (branch.line, branch.column, branch.text)
            first, before = file.get(place, (branch, False))
            shorter = min(first, branch, key=lambda one: (len(one.file), one.file))
            file[place] = shorter, before or held
    files = []
    for found in known.values():
        ordered = dict(sorted(found.values(), key=lambda one: (one[0].line, one[0].column)))
        files.append(FileCoverage(next(iter(ordered)).file, ordered))
    return sorted(files, key=lambda one: one.file)


def _untested(rules: Iterable[Path]) -> Iterator[dict[Branch, bool]]:
    """Give the branches of all rules in the folders given, none of them reached."""
    given = [path for path in rules if path.is_dir()]
    sources, _ = read(given) if given else ([], None)
    for source in sources:
        drafts: list[Draft] = []
        options = Options(secrets=lambda _: "test-only", packs=lambda name: find_pack(name, given))
        if build([source], options, keep=drafts).ruleset is not None:
            yield branches_of(drafts)


def total(files: Iterable[FileCoverage]) -> FileCoverage:
    """Add up all files."""
    return FileCoverage("", {branch: held for one in files for branch, held in one.branches.items()})


def as_text(files: list[FileCoverage]) -> Iterator[str]:
    """Give the lines that tell of it: each file, and below it what no case reached."""
    for one in files:
        yield f"{one.file}: {_told(one)}"
        for branch in one.missed:
            yield f"  {branch.file}:{branch.line}:{branch.column}: {branch.rule}: {branch.text}"
    yield f"coverage: {_told(total(files))}"


def _told(one: FileCoverage) -> str:
    rules, branches = one.counts("rule"), one.counts("branch")
    return f"{one.percent:.1f} %, {rules[0]} of {rules[1]} rules, {branches[0]} of {branches[1]} branches"


def as_data(files: list[FileCoverage]) -> dict[str, Any]:
    """Give it as JSON has it."""

    def counted(one: FileCoverage) -> dict[str, Any]:
        rules, branches = one.counts("rule"), one.counts("branch")
        return {
            "percent": round(one.percent, 1),
            "rules": {"reached": rules[0], "all": rules[1]},
            "branches": {"reached": branches[0], "all": branches[1]},
        }

    def missed(branch: Branch) -> dict[str, Any]:
        return {"line": branch.line, "column": branch.column, "rule": branch.rule, "text": branch.text}

    listed = [{"file": one.file, **counted(one), "missed": list(map(missed, one.missed))} for one in files]
    return {**counted(total(files)), "files": listed}
