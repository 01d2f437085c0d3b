"""Problems of what an author wrote, and how they are shown.

A problem has a place, a code that stays the same, words that may change, and sometimes the word that was meant.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

CODES: dict[str, str] = {
    "alias": "An alias means nothing, or what it stands for is too much.",
    "bad-expression": "An expression cannot be read.",
    "bad-match": "A part of a match means nothing.",
    "bad-name": "A name has characters that a name cannot have, or is a word of the language.",
    "bad-path": "A path cannot be read.",
    "bad-setting": "Settings of an action that do not go together, or cannot be used.",
    "bad-status": "A status means nothing here.",
    "bad-template": "A string with `${…}` cannot be read.",
    "bad-text": "A text holds characters that its place does not allow.",
    "duplicate-key": "A key stands twice in one map.",
    "duplicate-name": "Two rules have one name.",
    "empty": "A file has nothing in it.",
    "literal-secret": "A secret is written in a rule file.",
    "missing-key": "A key that is needed is missing.",
    "missing-secret": "A secret that a rule names is not there.",
    "no-action": "A step has no action.",
    "not-built": "Something that the language names and this version does not have yet.",
    "open-on-error": "`on_error: continue` would let through what the rule is to stop.",
    "secret-here": "A secret is used where it could reach the client or a log.",
    "several-actions": "A step has more than one action.",
    "status-before": "An answer's status or origin cannot choose `before` steps.",
    "syntax": "The file is not YAML 1.2.",
    "too-deep": "The file is nested too deeply.",
    "too-large": "The file is too large.",
    "unguarded-response": "A field is read from every answer, although some do not have it.",
    "unknown-action": "There is no such action.",
    "unknown-context": "No pack has such a context value.",
    "unknown-field": "The pack's schema has no such field.",
    "unknown-function": "There is no such function.",
    "unknown-key": "There is no such key here.",
    "unknown-name": "There is no such name.",
    "unknown-operation": "No pack has such an operation.",
    "unknown-pack": "There is no such pack.",
    "unknown-schema": "The pack has no such schema.",
    "unreadable-file": "A file cannot be read.",
    "unused-sticky": "`sticky` does nothing.",
    "wrong-key": "A key that is no text.",
    "wrong-phase": "An action stands in a phase where it cannot be.",
    "wrong-type": "A value has another type than is wanted.",
    "wrong-value": "A value is none of those that are possible.",
    "yaml-feature": "Something of YAML that rule files do not use: tags, merge keys, directives, several documents.",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file: line and column from 1, `end` the column after the last character on that line."""

    line: int
    column: int
    end: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    source: str
    line: int
    column: int
    end: int
    severity: Severity
    code: str
    text: str
    suggestion: str | None = None


class Problems:
    """All problems of one run; reading them gives files in the order of their first problem, then lines and columns."""

    def __init__(self) -> None:
        self._all: dict[Problem, None] = {}

    def add(self, problem: Problem) -> None:
        self._all.setdefault(problem)

    def error(self, code: str, text: str, source: str, mark: Mark, suggestion: str | None = None) -> None:
        self.add(Problem(source, mark.line, mark.column, mark.end, "error", code, text, suggestion))

    def warning(self, code: str, text: str, source: str, mark: Mark, suggestion: str | None = None) -> None:
        self.add(Problem(source, mark.line, mark.column, mark.end, "warning", code, text, suggestion))

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self if problem.severity == "warning"]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Problem]:
        files = {name: place for place, name in enumerate(dict.fromkeys(problem.source for problem in self._all))}
        return iter(sorted(self._all, key=lambda problem: (files[problem.source], problem.line, problem.column)))


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate that was probably meant, or None when none is close."""
    known = sorted(set(candidates))
    folded = {name.lower().replace("-", "_"): name for name in known}
    exact = folded.get(word.lower().replace("-", "_"))
    if exact is not None:
        return exact if exact != word else None
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.7 if len(word) > 3 else 0.6)
    return found[0] if found else None


def _columns(text: str) -> str:
    """Give the white space that is as wide as a text, tabs kept."""
    return "".join(
        "\t" if char == "\t" else "" if unicodedata.combining(char) else "  " if _wide(char) else " " for char in text
    )


def _wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def _paint(text: str, code: str, *, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color else text


def render(problem: Problem, text: str | None, *, color: bool = False) -> str:
    """Show a problem as compilers do; `text` is the file's, None where it could not be read."""
    tone = "1;31" if problem.severity == "error" else "1;33"
    place = _paint(f"{problem.source}:{problem.line}:{problem.column}:", "1", color=color)
    kind = _paint(f"{problem.severity}[{problem.code}]:", tone, color=color)
    shown = [f"{place} {kind} {problem.text}"]
    lines = text.splitlines() if text is not None else []
    if 0 < problem.line <= len(lines):
        line = lines[problem.line - 1]
        number = str(problem.line)
        edge = " " * len(number)
        start = problem.column - 1
        width = max(len(_columns(line[start : problem.end - 1]).expandtabs(1)), 1)
        carets = _paint("^" * width, tone, color=color)
        shown.append(f" {number} | {line}")
        shown.append(f" {edge} | {_columns(line[:start])}{carets}")
    if problem.suggestion is not None:
        shown.append(f"   help: did you mean {problem.suggestion!r}?")
    return "\n".join(shown)
