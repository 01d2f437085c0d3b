"""Problems of what an author wrote, and how they are shown.

A problem has a place, a code that stays the same, words that may change, and sometimes the word that was meant.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Severity = Literal["error", "warning"]

CODES: dict[str, str] = {
    "alias": "An alias means nothing, stands inside what it names, or stands for too much.",
    "bad-literal": "A literal text in an expression does not fit the function that takes it.",
    "bad-match": "A part of a match means nothing.",
    "bad-name": "A name has characters that a name cannot have, or is a word of the language.",
    "bad-path": "A path cannot be read.",
    "bad-pattern": "A regular expression in an expression cannot be read.",
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
    "unproved-return": "A `continue` whose first step does not say who comes back.",
    "unused-continue": "A `continue` in a rule that suspends nothing.",
    "not-a-value": "A name that is only read by its members stands alone.",
    "not-literal": "A function takes a literal text where it got something computed.",
    "open-on-error": "`on_error: continue` would let through what the rule is to stop.",
    "not-on-target": "The proxy that is to ask for these rules cannot do what one of them needs.",
    "repeated-key": "A key stands twice in a map of an expression.",
    "reserved-word": "A name in an expression is a word that CEL keeps for itself.",
    "secret-here": "A secret is used where it could reach the client or a log.",
    "several-actions": "A step has more than one action.",
    "status-before": "An answer's status or origin cannot choose `before` steps.",
    "syntax": "The file is not YAML 1.2, or an expression is not CEL.",
    "too-deep": "The file or an expression is nested too deeply.",
    "too-large": "The file is too large.",
    "too-long": "An expression is too long.",
    "unanchored-pattern": "A pattern matches a part of a longer text too.",
    "unguarded-response": "A field is read from every answer, although some do not have it.",
    "unknown-action": "There is no such action.",
    "unknown-context": "No pack has such a context value.",
    "unknown-factor": "No rule file and no pack has such a second factor.",
    "unknown-field": "The pack's schema has no such field.",
    "unknown-function": "There is no such function.",
    "unknown-key": "There is no such key here.",
    "unknown-member": "There is no such member.",
    "unknown-name": "There is no such name.",
    "unknown-operation": "No pack has such an operation.",
    "unknown-pack": "There is no such pack.",
    "unknown-schema": "The pack has no such schema.",
    "unreadable-file": "A file cannot be read.",
    "unreachable": "Something that never runs, because what stands before it always ends the phase.",
    "unverified-claims": "A denial rests on claims that nobody verified.",
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
    known = sorted(set(candidates) - {word})
    folded = {_fold(name): name for name in reversed(known)}
    if _fold(word) in folded:
        return folded[_fold(word)]
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.7 if len(word) > 3 else 0.6)
    return found[0] if found else None


def _fold(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


# What of a long line is shown around the place.
_BEFORE, _LINE = 60, 160
_LINES = re.compile("\\r\\n|\\r|\\n")


@lru_cache(maxsize=8)
def _lines(text: str) -> list[str]:
    """Split a file once, however many problems it has."""
    return _LINES.split(text)


def _visible(text: str) -> str:
    """Keep what a terminal would obey, or a reader could not see, out of a report: one sign stands for it."""
    return "".join(char if char == "\t" or unicodedata.category(char)[0] != "C" else "\ufffd" for char in text)


def _columns(text: str) -> str:
    """Give the white space that is as wide as a text, tabs kept."""
    return "".join("\t" if char == "\t" else " " * _width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _paint(text: str, code: str, *, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color else text


def render(problem: Problem, text: str | None, *, color: bool = False) -> str:
    """Show a problem as compilers do; `text` is the file's, None where it could not be read."""
    tone = "1;31" if problem.severity == "error" else "1;33"
    place = _paint(f"{_visible(problem.source)}:{problem.line}:{problem.column}:", "1", color=color)
    kind = _paint(f"{problem.severity}[{problem.code}]:", tone, color=color)
    shown = [f"{place} {kind} {_visible(problem.text)}"]
    lines = _lines(text) if text else []
    if 0 < problem.line <= len(lines):
        line, start, end = _window(lines[problem.line - 1], problem.column - 1, problem.end - 1)
        carets = "^" * max(sum(_width(char) for char in line[start:end]), 1)
        number = str(problem.line)
        shown.append(f" {number} | {line}")
        shown.append(f" {' ' * len(number)} | {_columns(line[:start])}{_paint(carets, tone, color=color)}")
    if problem.suggestion is not None:
        shown.append(f"   help: did you mean {_visible(problem.suggestion)!r}?")
    return "\n".join(shown)


def _window(line: str, start: int, end: int) -> tuple[str, int, int]:
    """Cut a long line to what stands around the place, and give the place in what is left."""
    shown = _visible(line)
    if len(shown) <= _LINE:
        return shown, start, end
    first = max(start - _BEFORE, 0)
    head = "…" if first else ""
    tail = "…" if first + _LINE < len(shown) else ""
    shift = len(head) - first
    cut = shown[first : first + _LINE]
    return f"{head}{cut}{tail}", start + shift, min(end + shift, len(head) + len(cut))
