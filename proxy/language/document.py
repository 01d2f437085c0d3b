"""YAML text to data, with the place of every value and key.

YAML 1.2 core types only, built in one pass over PyYAML's event stream, so that depth, aliases, tags, directives and
duplicate keys are refused on the way and nothing recurses. What is refused is reported; nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from .problems import Mark, Problems

Loc = tuple[str | int, ...]

SIZE = 1 << 20
DEPTH = 64
NODES = 10_000

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Int(int):
    """An integer that remembers how it was written."""

    source: str

    def __new__(cls, value: int, source: str) -> Int:
        made = super().__new__(cls, value)
        made.source = source
        return made


class Float(float):
    """A number that remembers how it was written."""

    source: str

    def __new__(cls, value: float, source: str) -> Float:
        made = super().__new__(cls, value)
        made.source = source
        return made


def plain(data: Any) -> Any:
    """Give the same data with ordinary numbers."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain(item) for item in data]
    if isinstance(data, Int):
        return int(data)
    if isinstance(data, Float):
        return float(data)
    return data


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the name under which problems show it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands: its mark, the span of its text, and how a scalar was written."""

    mark: Mark
    start: int
    stop: int
    style: str | None = None


@dataclass(slots=True)
class Document:
    """The data of a file and the places of its parts. A location is a path of keys and indexes."""

    source: Source
    data: Any = None
    _values: dict[Loc, _Place] = field(default_factory=dict)
    _keys: dict[Loc, _Place] = field(default_factory=dict)

    def mark(self, loc: Loc, *, key: bool = False) -> Mark:
        """Give the place of a value or of its key; of the nearest part that is in the file when it is not."""
        while True:
            if key and loc in self._keys:
                return self._keys[loc].mark
            if loc in self._values:
                return self._values[loc].mark
            if not loc:
                return Mark(1, 1, 2)
            loc, key = loc[:-1], False

    def within(self, loc: Loc, offset: int, length: int) -> Mark:
        """Give a place inside a text: exact where the text stands as it was written, else that of the whole text."""
        place = self._values.get(loc)
        value = self._at(loc)
        if place is None or not isinstance(value, str):
            return self.mark(loc)
        text = self.source.text
        if place.style in ("'", '"'):
            written, shift = text[place.start + 1 : place.stop - 1], 1
        elif place.style == "|":
            return self._within_block(place, value, offset, length)
        else:
            written, shift = text[place.start : place.stop], 0
        if written != value or "\n" in written:
            return place.mark
        column = place.mark.column + shift + offset
        return Mark(place.mark.line, column, column + max(length, 1))

    def _within_block(self, place: _Place, value: str, offset: int, length: int) -> Mark:
        lines = self.source.text.splitlines()
        row = value.count("\n", 0, offset)
        line = place.mark.line + 1 + row
        column = offset - (value.rfind("\n", 0, offset) + 1)
        if line > len(lines):
            return place.mark
        wanted = value.split("\n")[row]
        indent = len(lines[line - 1]) - len(wanted)
        if indent < 0 or lines[line - 1][indent:] != wanted:
            return place.mark
        start = indent + column + 1
        return Mark(line, start, min(start + max(length, 1), len(lines[line - 1]) + 1))

    def _at(self, loc: Loc) -> Any:
        data = self.data
        for part in loc:
            try:
                data = data[part]
            except (KeyError, IndexError, TypeError):
                return None
        return data


class _Refused(Exception):
    """The file cannot be read any further; why was reported."""


def load(source: Source, problems: Problems) -> Document | None:
    """Read a text; None when it could not be read to its end, and then the problems say why."""
    if len(source.text) > SIZE:
        problems.error("too-large", f"a file has at most {SIZE} characters", source.name, Mark(1, 1, 2))
        return None
    try:
        return _Builder(source, problems).build()
    except _Refused:
        return None
    except yaml.reader.ReaderError as error:
        mark = _mark_at(source.text, error.position)
        problems.error("syntax", "a character that YAML does not allow", source.name, mark)
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, source, problems)
    return None


def _mark_at(text: str, position: int) -> Mark:
    before = text[:position]
    column = position - (before.rfind("\n") + 1) + 1
    return Mark(before.count("\n") + 1, column, column + 1)


def _report_syntax(error: yaml.MarkedYAMLError, source: Source, problems: Problems) -> None:
    place = error.problem_mark or error.context_mark
    line, column = (place.line + 1, place.column + 1) if place is not None else (1, 1)
    words = error.problem or "not YAML"
    if error.context is not None:
        words = f"{words} ({error.context})"
    problems.error("syntax", words, source.name, Mark(line, column, column + 1))


@dataclass(slots=True)
class _Open:
    """A map or list whose end has not come yet."""

    node: dict[str, Any] | list[Any]
    loc: Loc
    place: _Place
    anchor: str | None
    key: str | None = None
    skip: bool = False


class _Builder:
    """One pass over the events of one file."""

    def __init__(self, source: Source, problems: Problems) -> None:
        self.source = source
        self.problems = problems
        self.document = Document(source)
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0
        self.documents = 0

    def build(self) -> Document:
        for event in self._events():
            self._take(event)
        if self.documents == 0:
            self._error("empty", "there is nothing in this file", Mark(1, 1, 2))
            raise _Refused
        return self.document

    def _events(self) -> Iterator[Any]:
        yield from yaml.parse(self.source.text, Loader=_LOADER)

    def _error(self, code: str, text: str, mark: Mark) -> None:
        self.problems.error(code, text, self.source.name, mark)

    def _place(self, event: Any, style: str | None = None) -> _Place:
        start, stop = event.start_mark, event.end_mark
        column = start.column + 1
        end = stop.column + 1 if stop.line == start.line else self._line_end(start)
        return _Place(Mark(start.line + 1, column, max(end, column + 1)), start.index, stop.index, style)

    def _line_end(self, mark: Any) -> int:
        found = self.source.text.find("\n", mark.index)
        stop = len(self.source.text) if found < 0 else found
        return int(mark.column + stop - mark.index + 1)

    def _take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(event)
            case yaml.ScalarEvent():
                self._refuse_tag(event)
                style = event.style or None
                self._scalar(event, self._place(event, style))
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self.stack.pop()
                if done.anchor is not None:
                    self.anchors[done.anchor] = (done.node, _count(done.node))
            case _:
                pass

    def _start_document(self, event: Any) -> None:
        self.documents += 1
        mark = self._place(event).mark
        if self.documents > 1:
            self._error("yaml-feature", "a file holds one document", mark)
            raise _Refused
        if event.version is not None and event.version != (1, 2):
            self._error("yaml-feature", "rule files are YAML 1.2", mark)
        if event.tags:
            self._error("yaml-feature", "rule files have no %TAG", mark)

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            self._error("yaml-feature", "rule files have no tags", self._place(event).mark)

    def _count_node(self, mark: Mark, more: int = 1) -> None:
        self.nodes += more
        if self.nodes > NODES:
            self._error("too-large", f"a file has at most {NODES} values, those behind aliases included", mark)
            raise _Refused

    def _open(self, node: dict[str, Any] | list[Any], event: Any) -> None:
        self._refuse_tag(event)
        place = self._place(event)
        self._count_node(place.mark)
        if len(self.stack) >= DEPTH:
            self._error("too-deep", f"a file is nested at most {DEPTH} levels deep", place.mark)
            raise _Refused
        loc, skip = self._add(node, place, is_key_possible=False)
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(node, loc, place, event.anchor, skip=skip))

    def _add(self, value: Any, place: _Place, *, is_key_possible: bool = True) -> tuple[Loc, bool]:
        """Put a value where the open map or list expects it; give its location and whether it is to be forgotten."""
        if not self.stack:
            self.document.data = value
            self.document._values[()] = place
            return (), False
        top = self.stack[-1]
        if isinstance(top.node, list):
            loc = (*top.loc, len(top.node))
            top.node.append(value)
        elif top.key is None:
            if not is_key_possible:
                self._error("wrong-key", "a key is text", place.mark)
                top.key = f"\0{len(self.document._values)}"
                return (*top.loc, top.key), True
            return self._key(top, value, place), False
        else:
            loc = (*top.loc, top.key)
            if not top.key.startswith("\0"):
                top.node[top.key] = value
            top.key = None
        if not top.skip:
            self.document._values.setdefault(loc, place)
        return loc, top.skip

    def _key(self, top: _Open, value: Any, place: _Place) -> Loc:
        if not isinstance(value, str):
            written = self.source.text[place.start : place.stop]
            self._error("wrong-key", f"a key is text: write {written!r} in quotes", place.mark)
            value = f"\0{len(self.document._keys)}"
        elif value == "<<" and place.style is None:
            self._error("yaml-feature", "rule files have no merge keys", place.mark)
            value = f"\0{len(self.document._keys)}"
        loc = (*top.loc, value)
        if isinstance(top.node, dict) and value in top.node:
            first = self.document._keys[loc].mark
            self._error("duplicate-key", f"the key {value!r} stands here already, at line {first.line}", place.mark)
            value = f"\0{len(self.document._keys)}"
            loc = (*top.loc, value)
        self.document._keys[loc] = place
        top.key = value
        return loc

    def _scalar(self, event: Any, place: _Place) -> None:
        self._count_node(place.mark)
        value = event.value if event.style or event.tag == "!" else self._resolve(event.value, place.mark)
        self._add(value, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)

    def _resolve(self, text: str, mark: Mark) -> Any:
        """Give a plain scalar its type by the core schema of YAML 1.2 (section 10.3)."""
        if text in _WORDS:
            return _WORDS[text]
        try:
            if _INT.fullmatch(text):
                return Int(int(text), text)
            if _OCTAL.fullmatch(text):
                return Int(int(text[2:], 8), text)
            if _HEX.fullmatch(text):
                return Int(int(text[2:], 16), text)
            if _FLOAT.fullmatch(text):
                number = float(text)
                if number in (float("inf"), float("-inf")):
                    raise ValueError
                return Float(number, text)
        except ValueError:
            self._error("wrong-value", "this number is too large", mark)
            return None
        if _NOT_FINITE.fullmatch(text):
            self._error("wrong-value", "rule files have no infinite numbers and no NaN", mark)
            return None
        return text

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        if event.anchor not in self.anchors:
            inside = any(one.anchor == event.anchor for one in self.stack)
            text = "an alias cannot stand inside what it names" if inside else f"nothing is named {event.anchor!r}"
            self._error("alias", text, place.mark)
            self._add(None, place)
            return
        value, size = self.anchors[event.anchor]
        self._count_node(place.mark, size)
        self._add(value, place, is_key_possible=isinstance(value, str))


def _count(node: Any) -> int:
    """Count the values in a node, those behind aliases each time they stand there."""
    total, waiting = 0, [node]
    while waiting:
        item = waiting.pop()
        total += 1
        if total > NODES:
            return total
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return total
