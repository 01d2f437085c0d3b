"""Field paths and JSON Pointers: where in a body an action reads or edits.

A field path is RFC 9535 without `$` and the single dot after it, with names, indexes, `*` and `..` only. A pointer is
RFC 6901. Both are parsed at load; at run time they open no more of a body than they touch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..engine.errors import EvaluationError
from ..engine.json_body import JsonBody
from ..engine.json_nodes import ArrayNode, Node, ObjectNode

Location = tuple[str | int, ...]

# A class of all that is not ASCII but no surrogate takes long to compile; the other way round it does not.
_BEYOND = r"[^\x00-\x7f\ud800-\udfff]"
_NAME = re.compile(rf"(?:[A-Za-z_]|{_BEYOND})(?:[A-Za-z0-9_]|{_BEYOND})*")
_INDEX = re.compile(r"0|-?[1-9][0-9]*")
_WHITE = " \t\n\r"
_LARGEST = (1 << 53) - 1
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\"}


class PathError(Exception):
    """A path that cannot be read, and where."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.text = text
        self.offset = offset


class Wildcard:
    """All members or elements. Both spellings find the same; they say what an author has before him."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "*"


# `[*]`, as of an array, and `.*`, as of an object whose names are not known.
WILDCARD, MEMBERS = Wildcard(), Wildcard()
Selector = str | int | Wildcard


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path; a deep one (`..`) looks at every level below as well."""

    selector: Selector
    deep: bool = False


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A parsed field path."""

    text: str
    segments: tuple[Segment, ...]
    # The names and indexes, when there is nothing else in the path.
    static: Location | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "static", _static(self.segments))

    @property
    def names(self) -> Location | None:
        """What of a body is read, by names: indexes and `[*]` are left out, `.*` reads what is above it as a whole.

        None is the whole body, as `..`, `.*` and `[*]` alone read it.
        """
        names: list[str] = []
        for segment in self.segments:
            if segment.deep or (segment.selector is MEMBERS and not names):
                return None
            if segment.selector is MEMBERS:
                break
            if isinstance(segment.selector, str):
                names.append(segment.selector)
        return tuple(names) or None

    @property
    def last_name(self) -> str | None:
        selector = self.segments[-1].selector
        return selector if isinstance(selector, str) else None

    def locate(self, body: JsonBody) -> list[Location]:
        """Find every place that the path names, in the order of RFC 9535."""
        static = self.static
        if static is not None:
            parent = body.parent(static)
            return [static] if parent is not None and parent.holds(static[-1]) else []
        found: list[tuple[Location, Any]] = [((), body.root)]
        for segment in self.segments[:-1]:
            found = [
                ((*start, *location), _open(node, location[-1]))
                for start, value in found
                for location, node in _select(segment, (), value)
            ]
        return [(*start, *location) for start, value in found for location, _ in _select(self.segments[-1], (), value)]

    def form_name(self) -> str:
        """The one name of a path into a form; anything else is an EvaluationError."""
        static = self.static
        if static is None or len(static) != 1 or not isinstance(static[0], str):
            raise EvaluationError("in a form a path is one name")
        return static[0]


def _static(segments: tuple[Segment, ...]) -> Location | None:
    found: list[str | int] = []
    for segment in segments:
        selector = segment.selector
        if segment.deep or isinstance(selector, Wildcard) or (isinstance(selector, int) and selector < 0):
            return None
        found.append(selector)
    return tuple(found)


def _open(node: Node, key: Any) -> Any:
    return node.open(key) or node.find(key)


def keys_of(node: Node) -> list[Any]:
    """List the names or indexes below a node."""
    if isinstance(node, ObjectNode):
        return list(node.members)
    return list(range(len(node.items))) if isinstance(node, ArrayNode) else []


def _select(segment: Segment, start: Location, value: Any) -> Iterator[tuple[Location, Node]]:
    """Give the places that a segment finds, each with the node that holds it; what is found is not opened."""
    if not isinstance(value, Node):
        return
    for key in _pick(segment.selector, value):
        yield (*start, key), value
    if segment.deep:
        for key in keys_of(value):
            yield from _select(segment, (*start, key), _open(value, key))


def _pick(selector: Selector, node: Node) -> list[Any]:
    if isinstance(selector, Wildcard):
        return keys_of(node)
    if isinstance(selector, int) and selector < 0 and isinstance(node, ArrayNode):
        selector += len(node.items)
    return [selector] if node.holds(selector) else []


class _Reader:
    """Reads the text of a field path."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, text: str) -> PathError:
        return PathError(text, min(self.at, max(len(self.text) - 1, 0)))

    def peek(self, what: str) -> bool:
        return self.text.startswith(what, self.at)

    def read(self) -> tuple[Segment, ...]:
        if not self.text:
            raise self.fail("a path is empty; the whole body is edited with `patch` and the path ''")
        if self.peek("$"):
            raise self.fail("a path begins with a name: leave out `$` and the dot after it")
        segments: list[Segment] = []
        if not self.peek("[") and not self.peek(".."):
            segments.append(Segment(self.shorthand()))
        while self.at < len(self.text):
            segments.append(self.segment())
        return tuple(segments)

    def segment(self) -> Segment:
        start = self.at
        self.skip_white()
        if self.peek(".."):
            self.at += 2
            selector = self.bracket() if self.peek("[") else self.shorthand()
            return Segment(selector, deep=True)
        if self.peek("."):
            self.at += 1
            return Segment(self.shorthand())
        if self.peek("["):
            return Segment(self.bracket())
        self.at = start
        raise self.fail("a dot or a bracket was expected")

    def shorthand(self) -> Selector:
        if self.peek("*"):
            self.at += 1
            return MEMBERS
        found = _NAME.match(self.text, self.at)
        if found is None:
            raise self.fail("a name was expected; an odd one stands in brackets and quotes: ['odd.name']")
        self.at = found.end()
        return found[0]

    def skip_white(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _WHITE:
            self.at += 1

    def bracket(self) -> Selector:
        self.at += 1
        self.skip_white()
        if self.peek("?"):
            raise self.fail("a path has no filters: use `when`, or a macro in an expression")
        selector: Selector
        if self.peek("*"):
            self.at += 1
            selector = WILDCARD
        elif self.peek("'") or self.peek('"'):
            selector = self.quoted()
        else:
            selector = self.index()
        self.skip_white()
        if self.peek(","):
            raise self.fail("a path has one selector in brackets; write one path for each")
        if self.peek(":"):
            raise self.fail("a path has no slices")
        if not self.peek("]"):
            raise self.fail("a closing bracket was expected")
        self.at += 1
        return selector

    def index(self) -> int:
        found = _INDEX.match(self.text, self.at)
        if found is None:
            raise self.fail("a path has no slices" if self.peek(":") else "an index, a quoted name or `*` was expected")
        if abs(int(found[0])) > _LARGEST:
            raise self.fail("this index is too large")
        self.at = found.end()
        return int(found[0])

    def quoted(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        out: list[str] = []
        while not self.peek(quote):
            if self.at >= len(self.text):
                raise self.fail("this name has no closing quote")
            char = self.text[self.at]
            if char == "\\":
                out.append(self.escape(quote))
                continue
            if char < " ":
                raise self.fail("a control character in a name is written as an escape")
            out.append(char)
            self.at += 1
        self.at += 1
        return "".join(out)

    def escape(self, quote: str) -> str:
        char = self.text[self.at + 1 : self.at + 2]
        if char == quote or char in _ESCAPES:
            self.at += 2
            return _ESCAPES.get(char, char)
        if char == "u":
            code = self.hex()
            if 0xD800 <= code < 0xDC00 and self.peek("\\u"):
                low = self.hex()
                if 0xDC00 <= low < 0xE000:
                    return chr(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00)
            if not 0xD800 <= code < 0xE000:
                return chr(code)
        raise self.fail("an escape that JSON does not have")

    def hex(self) -> int:
        digits = self.text[self.at + 2 : self.at + 6]
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise self.fail("`\\u` is followed by four digits")
        self.at += 6
        return int(digits, 16)


def parse(text: str) -> FieldPath:
    """Parse a field path; raise PathError."""
    return FieldPath(text, _Reader(text).read())


def parse_pointer(text: str) -> tuple[str, ...]:
    """Parse a JSON Pointer into its unescaped tokens (RFC 6901 section 3); raise PathError."""
    if text and not text.startswith("/"):
        raise PathError("a pointer is empty or begins with `/`", 0)
    found = re.search(r"~(?![01])", text)
    if found is not None:
        raise PathError("in a pointer `~` is written `~0`, and `/` in a name `~1`", found.start())
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def resolve(body: JsonBody, tokens: tuple[str, ...], *, new: bool = False) -> Location:
    """Give the place that a pointer names in a body; a missing one is an EvaluationError.

    With `new` the last token may name what is not there yet: a new member, or the element after the last (`-`).
    """
    location: list[str | int] = []
    node: Any = body.root if tokens else None
    for index, token in enumerate(tokens):
        last = index == len(tokens) - 1
        key: str | int = token
        if isinstance(node, ArrayNode):
            key = _array_index(node, token, allow_end=new and last, body=body)
        elif not isinstance(node, ObjectNode) or not (token in node.members or (new and last)):
            raise EvaluationError(f"a pointer names what the body does not have: {spell_pointer(tokens)}", body.side)
        location.append(key)
        if not last:
            node = _open(node, key)
    return tuple(location)


def _array_index(node: ArrayNode, token: str, *, allow_end: bool, body: JsonBody) -> int:
    size = len(node.items)
    if allow_end and token == "-":
        return size
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", token) or int(token) >= size + allow_end:
        raise EvaluationError("a pointer names an element that the array does not have", body.side)
    return int(token)


def spell_pointer(tokens: tuple[str, ...]) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)
