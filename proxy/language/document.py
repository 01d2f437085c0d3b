"""YAML text to data, with the place of every value and key.

YAML 1.2 core types only, built in one pass over PyYAML's event stream, so that depth, aliases, tags, directives and
duplicate keys are refused on the way and nothing recurses. What is refused is reported; nothing raises.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, NewType

import yaml

from .problems import Mark, Problems
from .scalars import Float, Int, plain, resolve
from .syntax import DEPTH, HALF_A_PAIR, LINES, TOO_DEEP, explain_syntax, mark_at

__all__ = ["ALIASED", "DEPTH", "NODES", "SIZE", "Document", "Float", "Int", "Source", "load", "plain"]

Loc = tuple[str | int, ...]

SIZE = 1 << 20
NODES = 100_000
# What aliases may add to a file: each costs as much as what it stands for.
ALIASED = 10_000

# What YAML calls printable, less the marks that its versions break lines at differently (NEL, LS, PS), less the BOM.
_UNPRINTABLE = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)
_CONTROL = re.compile("[\\x00-\\x1f\\x7f]")
_SURROGATE = re.compile("[\\ud800-\\udfff]")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the name under which problems show it."""

    name: str
    text: str


_STYLES = (None, "'", '"', "|", ">")
# Enough bits for a position in a text of SIZE.
_POSITION = SIZE.bit_length()
_MASK = (1 << _POSITION) - 1
# Where a node stands: the span of its text, and how a scalar was written. One number, as a file has many.
_Place = NewType("_Place", int)


def _place(event: Any, style: str | None = None) -> _Place:
    span = event.start_mark.index | event.end_mark.index << _POSITION
    return _Place(span | _STYLES.index(style) << 2 * _POSITION)


def _span(place: _Place) -> tuple[int, int]:
    return place & _MASK, place >> _POSITION & _MASK


def _style(place: _Place) -> str | None:
    return _STYLES[place >> 2 * _POSITION]


@dataclass(slots=True)
class Document:
    """The data of a file and the places of its parts. A location is a path of keys and indexes."""

    source: Source
    data: Any = None
    _values: dict[Loc, _Place] = field(default_factory=dict)
    _keys: dict[Loc, _Place] = field(default_factory=dict)
    # Where each line begins, once somebody asks.
    _lines: list[int] = field(default_factory=list)

    def mark(self, loc: Loc, *, key: bool = False) -> Mark:
        """Give the place of a value or of its key; of the nearest part that is in the file when it is not."""
        while True:
            if key and loc in self._keys:
                return self.mark_of(self._keys[loc])
            if loc in self._values:
                return self.mark_of(self._values[loc])
            if not loc:
                return Mark(1, 1, 2)
            loc, key = loc[:-1], False

    def mark_of(self, place: _Place) -> Mark:
        """Give the line and the columns of a place, of its first line when there are several."""
        text, (start, stop) = self.source.text, _span(place)
        if not self._lines:
            self._lines = [0, *(found.end() for found in LINES.finditer(text))]
        line = bisect_right(self._lines, start)
        begin = self._lines[line - 1]
        if line < len(self._lines) and stop >= self._lines[line]:
            found = LINES.search(text, start)
            stop = len(text) if found is None else found.start()
        column = start - begin + 1
        return Mark(line, column, max(stop - begin + 1, column + 1))

    def within(self, loc: Loc, offset: int, length: int) -> Mark:
        """Give a place inside a text: exact where it can be found as it was written, else the whole."""
        place = self._values.get(loc)
        value = self.at(loc)
        if place is None or not isinstance(value, str):
            return self.mark(loc)
        start = self._written(place, value, offset, max(length, 1))
        return self.mark_of(place) if start is None else mark_at(self.source.text, start, length)

    def _written(self, place: _Place, value: str, offset: int, length: int) -> int | None:
        """Find where in the file a part of a text stands, which escapes, folding and indentation may have moved."""
        quotes = 1 if _style(place) in ("'", '"') else 0
        start, stop = _span(place)
        start, stop = start + quotes, stop - quotes
        written = self.source.text[start:stop]
        if written == value:
            return start + offset
        if _style(place) == "|" and (found := _in_block(written, value, offset)) is not None:
            return start + found
        part = value[offset : offset + length]
        if part and written.count(part) == 1:
            return start + written.index(part)
        return None

    def at(self, loc: Loc) -> Any:
        """Give the value at a location; None when there is none."""
        data = self.data
        for part in loc:
            try:
                data = data[part]
            except (KeyError, IndexError, TypeError):
                return None
        return data


def _in_block(written: str, value: str, offset: int) -> int | None:
    """Find an offset of a literal block: its text has the same lines, without their indentation."""
    row = value.count("\n", 0, offset)
    column = offset - (value.rfind("\n", 0, offset) + 1)
    wanted = value.split("\n")[row]
    breaks = [match.end() for match in LINES.finditer(written)]
    if row >= len(breaks):
        return None
    start = breaks[row]
    stop = breaks[row + 1] if row + 1 < len(breaks) else len(written)
    line = written[start:stop].rstrip("\r\n")
    if not line.endswith(wanted):
        return None
    return start + len(line) - len(wanted) + column


class _UnreadableError(Exception):
    """The file cannot be read any further; why was reported."""


def load(source: Source, problems: Problems) -> Document | None:
    """Read a text; None when it could not be read to its end, and then the problems say why."""
    if len(source.text) > SIZE:
        problems.error("too-large", f"a file has at most {SIZE} characters", source.name, Mark(1, 1, 2))
        return None
    wrong = _UNPRINTABLE.search(source.text)
    if wrong is not None:
        text = f"the character U+{ord(wrong[0]):04X} cannot stand in a file; double quotes can hold it as an escape"
        if wrong[0] == "\ufeff":
            text = "a byte order mark (U+FEFF) cannot stand in a file: save it as UTF-8 without one"
        problems.error("syntax", text, source.name, mark_at(source.text, wrong.start()))
        return None
    try:
        return _Builder(source, problems).build()
    except _UnreadableError:
        return None
    except yaml.MarkedYAMLError as error:
        code, words, mark = explain_syntax(error, source.text)
        problems.error(code, words, source.name, mark)
    except yaml.YAMLError:
        problems.error("syntax", "this is not YAML", source.name, Mark(1, 1, 2))
    return None


@dataclass(slots=True)
class _Open:
    """A map or list whose end has not come yet. What stands under a wrong key is `lost`: read, and then left out."""

    node: dict[str, Any] | list[Any]
    loc: Loc
    anchor: str | None
    lost: bool
    key: str | None = None
    key_loc: Loc = ()
    key_lost: bool = False
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Named:
    """What an anchor stands for, and what an alias of it costs."""

    value: Any
    size: int
    height: int


class _Builder:
    """One pass over the events of one file."""

    def __init__(self, source: Source, problems: Problems) -> None:
        self.source = source
        self.problems = problems
        self.document = Document(source)
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Named] = {}
        self.nodes = 0
        self.aliased = 0
        self.documents = 0

    def build(self) -> Document:
        for event in yaml.parse(self.source.text, Loader=_LOADER):
            self._take(event)
        if self.documents == 0:
            self._refuse("empty", "there is nothing in this file", _Place(0))
        return self.document

    def _error(self, code: str, text: str, place: _Place) -> None:
        self.problems.error(code, text, self.source.name, self.document.mark_of(place))

    def _refuse(self, code: str, text: str, place: _Place) -> None:
        self._error(code, text, place)
        raise _UnreadableError

    def _take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._start_document(event)
            case _:
                pass

    def _start_document(self, event: Any) -> None:
        self.documents += 1
        place = _place(event)
        if self.documents > 1:
            self._refuse("yaml-feature", "a file holds one document", place)
        if event.version is not None and tuple(event.version) != (1, 2):
            self._error("yaml-feature", "rule files are YAML 1.2", place)
        if event.tags:
            self._error("yaml-feature", "rule files have no %TAG", place)

    def _refuse_tag(self, event: Any, place: _Place) -> None:
        if event.tag is not None:
            self._error("yaml-feature", "rule files have no tags: a value's type is seen from how it is written", place)

    def _count_node(self, place: _Place) -> None:
        self.nodes += 1
        if self.nodes > NODES:
            self._refuse("too-large", f"a file has at most {NODES} values", place)

    def _open(self, node: dict[str, Any] | list[Any], event: Any) -> None:
        place = _place(event)
        self._refuse_tag(event, place)
        self._count_node(place)
        self._check_depth(1, place)
        loc, lost = self._add(node, place)
        # A new node takes the name at once: what had it before cannot be meant inside.
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(node, loc, event.anchor, lost))

    def _check_depth(self, height: int, place: _Place) -> None:
        if len(self.stack) + height > DEPTH:
            self._refuse("too-deep", TOO_DEEP, place)

    def _close(self) -> None:
        done = self.stack.pop()
        if done.anchor is not None:
            self.anchors[done.anchor] = _Named(done.node, _count(done.node), done.height)
        self._raise_height(done.height)

    def _raise_height(self, below: int) -> None:
        if self.stack:
            self.stack[-1].height = max(self.stack[-1].height, below + 1)

    def _add(self, value: Any, place: _Place) -> tuple[Loc, bool]:
        """Put a value where the open map or list expects it; give its location and whether it is left out."""
        if not self.stack:
            if value is None:
                self._refuse("empty", "there is nothing in this file", place)
            self.document.data = value
            self.document._values[()] = place
            return (), False
        top = self.stack[-1]
        if isinstance(top.node, list):
            loc = (*top.loc, len(top.node))
            top.node.append(value)
            lost = top.lost
        elif top.key is None:
            return self._key(top, top.node, value, place), True
        else:
            loc, lost = top.key_loc, top.lost or top.key_lost
            if not lost:
                top.node[top.key] = value
            top.key = None
        if not lost:
            self.document._values[loc] = place
        return loc, lost

    def _key(self, top: _Open, node: dict[str, Any], value: Any, place: _Place) -> Loc:
        """Take a value as a key. With a wrong one reading goes on, but what it stands for is left out."""
        wrong = self._wrong_key(node, (*top.loc, value) if isinstance(value, str) else None, value, place)
        # Of maps nested as keys the outermost says it all.
        if wrong is not None and not (top.lost and isinstance(value, dict | list)):
            self._error(*wrong, place)
        top.key, top.key_lost = value if isinstance(value, str) else "", wrong is not None
        loc = top.key_loc = (*top.loc, top.key)
        if wrong is None and not top.lost:
            self.document._keys[loc] = place
        if wrong is None:
            # The key is in the map from here on, so that a repetition is found before the value has come.
            node[top.key] = None
        return loc

    def _wrong_key(self, node: dict[str, Any], loc: Loc | None, value: Any, place: _Place) -> tuple[str, str] | None:
        if loc is None:
            if isinstance(value, dict | list):
                return "wrong-key", "a key is text"
            return "wrong-key", f"a key is text: write {self.source.text[slice(*_span(place))]!r} in quotes"
        if value == "<<" and _style(place) is None:
            return "yaml-feature", "rule files have no merge keys"
        if _CONTROL.search(value):
            return "wrong-key", "a key has no control characters"
        if value in node:
            first = self.document._keys.get(loc)
            where = f", at line {self.document.mark_of(first).line}" if first is not None else ""
            return "duplicate-key", f"the key {value!r} stands in this map already{where}"
        return None

    def _scalar(self, event: Any) -> None:
        place = _place(event, event.style or None)
        self._refuse_tag(event, place)
        self._count_node(place)
        value = event.value if event.style else self._plain_scalar(event.value, place)
        if isinstance(value, str) and _SURROGATE.search(value):
            # An escape can say what no text can hold; the C parser refuses it itself.
            self._refuse("syntax", HALF_A_PAIR, place)
        self._add(value, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Named(value, 1, 0)

    def _plain_scalar(self, text: str, place: _Place) -> Any:
        value, wrong = resolve(text)
        if wrong is not None:
            self._error("wrong-value", wrong, place)
        return value

    def _alias(self, event: Any) -> None:
        place = _place(event)
        named = self.anchors.get(event.anchor)
        if named is None:
            inside = any(one.anchor == event.anchor for one in self.stack)
            text = "an alias cannot stand inside what it names" if inside else f"nothing is named `&{event.anchor}`"
            self._error("alias", text, place)
            named = _Named("", 1, 0)
        self.aliased += named.size
        if self.aliased > ALIASED:
            self._refuse("alias", f"the aliases of a file stand for at most {ALIASED} values", place)
        self._check_depth(named.height, place)
        self._raise_height(named.height)
        self._add(named.value, place)


def _count(node: Any) -> int:
    """Count the values in a node, those behind aliases each time they stand there."""
    total, waiting = 0, [node]
    while waiting and total <= ALIASED:
        item = waiting.pop()
        total += 1
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return total
