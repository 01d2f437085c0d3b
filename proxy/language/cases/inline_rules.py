"""Rules that stand inside another file: written out as a rule file of their own, their problems put back in place.

The language's errors name lines and columns, and an author must find them in the file that he wrote.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..document import Document, Source
from ..problems import Mark, Problem

_Loc = tuple[str | int, ...]
# How the name of what is written out ends.
INLINE = "#rules"
# What YAML does not take raw, or takes for the end of a line.
_UNWRITABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class InlineRules:
    """A rule file in one line, made of parts of a document."""

    def __init__(self, document: Document, rules: Sequence[tuple[_Loc, Any]], packs: _Loc) -> None:
        """`rules` are rules with where they stand; `packs` is where those stand."""
        self._document = document
        self._text = ""
        # Where each part begins in the text, and where it stands in the document; True for a key.
        self._places: list[tuple[int, _Loc, bool]] = []
        self._put('{"version": 1, "packs": ')
        self._write(document.at(packs) or [], packs)
        for key in ("configuration", "factors"):
            self._put(f', "{key}": ')
            self._write(document.at((key,)) or {}, (key,))
        self._put(', "rules": [')
        for number, (loc, rule) in enumerate(rules):
            self._put(", " if number else "")
            self._write(rule, loc)
        self._put("]}")
        self._starts = [start for start, _, _ in self._places]
        self.source = Source(f"{document.source.name}{INLINE}", self._text)

    def _put(self, text: str) -> None:
        self._text += text

    def _write(self, value: Any, loc: _Loc) -> None:
        self._places.append((len(self._text), loc, False))
        if isinstance(value, Mapping):
            self._put("{")
            for number, (key, item) in enumerate(value.items()):
                self._put(", " if number else "")
                self._places.append((len(self._text), (*loc, key), True))
                self._put(f"{_scalar(key)}: ")
                self._write(item, (*loc, key))
            self._put("}")
        elif isinstance(value, list):
            self._put("[")
            for number, item in enumerate(value):
                self._put(", " if number else "")
                self._write(item, (*loc, number))
            self._put("]")
        else:
            self._put(_scalar(value))

    def relocate(self, problem: Problem) -> Problem:
        """Put a problem of the written file where its cause stands in the document."""
        if problem.source != self.source.name or problem.line != 1:
            return problem
        at = problem.column - 1
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return replace(problem, source=self._document.source.name)
        start, loc, key = self._places[index]
        mark = self._document.mark(loc, key=key)
        if not key and at > start and isinstance(self._document.at(loc), str):
            mark = self._within(loc, start, at, problem.end - problem.column, mark)
        return replace(problem, source=self._document.source.name, line=mark.line, column=mark.column, end=mark.end)

    def _within(self, loc: _Loc, start: int, at: int, length: int, whole: Mark) -> Mark:
        """Find a place inside a text: escapes before it made it stand further to the right."""
        try:
            offset = len(json.loads(f'{self._text[start:at]}"'))
        except ValueError:
            return whole
        return self._document.within(loc, offset, length)


def _scalar(value: Any) -> str:
    """Write a scalar as JSON; a number as its author spelt it, which counts where text is wanted."""
    source = getattr(value, "source", None)
    if isinstance(source, str):
        return source
    text = json.dumps(value, ensure_ascii=False)
    return _UNWRITABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
