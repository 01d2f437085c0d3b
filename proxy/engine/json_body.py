"""A JSON body that is opened no further than a rule touches, and keeps every byte that no rule named.

An object or array is opened by decoding it to raw members. When encoding these again gives the same bytes, there was
no duplicate key and no spelling to lose. Otherwise the members are cut out of the text with the white space and the
key spelling around them, and put back the same way.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
from msgspec import Raw

from .errors import EvaluationError, Side, Unreadable

INT64 = 1 << 63
# Above this an object is not encoded again to see whether it comes out the same: cutting it is as cheap.
_CANONICAL = 1 << 16
_WHITE = b" \t\n\r"
# Possessive, as a key of some megabytes would else be remembered byte by byte.
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+"[ \t\n\r]*+:[ \t\n\r]*+)', re.DOTALL)
_GAP = re.compile(rb"[ \t\n\r]*")


class _Key:
    """A decoded key that equals nothing but itself, so that duplicates survive decoding."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _make_key(_: type, text: Any) -> _Key:
    return _Key(text)


_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_keys = msgspec.json.Decoder(dict[_Key, Raw], dec_hook=_make_key).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

Path = tuple[str | int, ...]


def encode(value: Any) -> Raw:
    """Encode a plain value for a body; one that JSON cannot hold is an EvaluationError."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise EvaluationError("a value that JSON cannot hold") from None
    if b"null" in text:
        _refuse_no_numbers(value)
    return Raw(text)


def _refuse_no_numbers(value: Any) -> None:
    """Refuse NaN and infinities, which msgspec writes as null."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EvaluationError("a number that JSON cannot hold")
    elif isinstance(value, dict):
        for item in value.values():
            _refuse_no_numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_no_numbers(item)


class Node:
    """An opened object or array."""

    __slots__ = ("assigned", "body", "depth", "dirty", "opened", "raw")

    # What rules put there: the names of members, or elements by identity, as indexes move.
    assigned: set[str] | dict[int, Any]

    def __init__(self, body: JsonBody, raw: bytes, depth: int) -> None:
        self.body = body
        self.raw = raw
        self.depth = depth
        self.dirty = False
        # What was opened below: an edit further down makes this one's text another too.
        self.opened: list[Node] = []

    def holds(self, key: Any) -> bool:
        """Say whether there is a member below a key."""
        raise KeyError(key)

    def child(self, key: Any) -> Any:
        """Return the member as it stands: Raw or Node; the caller knows that it is there."""
        raise KeyError(key)

    def delete(self, key: Any) -> None:
        raise KeyError(key)

    def put(self, key: Any, value: Any) -> None:
        raise KeyError(key)

    def open(self, key: Any) -> Node | None:
        """Open the member below a key; None when it is neither object nor array."""
        value = self.child(key)
        if isinstance(value, Node):
            return value
        node = self.body.node(bytes(value), self.depth + 1)
        if node is not None:
            self._attach(key, node)
            self.opened.append(node)
        return node

    def _attach(self, key: Any, node: Node) -> None:
        raise KeyError(key)

    def changed(self) -> bool:
        if self.dirty or not self.opened:
            return self.dirty
        return any(node.changed() for node in self.opened)

    def dump(self) -> bytes:
        return self.raw if not self.changed() else self.write()

    def write(self) -> bytes:
        return self.raw

    def is_assigned(self, key: Any) -> bool:
        """Say whether a rule put the member there."""
        raise KeyError(key)

    def copy(self, body: JsonBody) -> Node:
        raise KeyError


def _bytes(value: Any) -> bytes:
    return value.dump() if isinstance(value, Node) else bytes(value)


def _raw(value: Any) -> Any:
    return value if value.__class__ is Raw else Raw(value.dump())


class ObjectNode(Node):
    """An opened object. `spelling` holds, per key that was there, what stands before and around it in the text."""

    __slots__ = ("members", "spelling")

    assigned: set[str]

    def __init__(self, body: JsonBody, raw: bytes, depth: int) -> None:
        super().__init__(body, raw, depth)
        self.spelling: dict[str, tuple[bytes, bytes, bytes]] | None = None
        self.assigned = set()
        if len(raw) <= _CANONICAL:
            members = _decode_object(raw)
            if _encode(members) == raw:
                self.members: dict[str, Any] = members
                return
        self._cut(raw)

    def _cut(self, raw: bytes) -> None:
        pairs = _decode_keys(raw)
        self.members = {}
        self.spelling = {}
        at = raw.index(b"{") + 1
        for key, value in pairs.items():
            name = key.text
            if name in self.members:
                raise Unreadable(self.body.side, "a key stands twice in an object")
            start = _GAP.match(raw, at).end()  # type: ignore[union-attr]
            found = _KEY.match(raw, start)
            if found is None:
                raise Unreadable(self.body.side, "an object is malformed")
            after = found.end() + len(bytes(value))
            stop = _GAP.match(raw, after).end()  # type: ignore[union-attr]
            self.spelling[name] = (raw[at:start], found[1], raw[after:stop])
            self.members[name] = value
            at = stop + 1

    def holds(self, key: Any) -> bool:
        return isinstance(key, str) and key in self.members

    def child(self, key: str) -> Any:
        return self.members[key]

    def _attach(self, key: str, node: Node) -> None:
        self.members[key] = node

    def put(self, key: str, value: Any) -> None:
        self.members[key] = value
        self.assigned.add(key)
        self.dirty = True

    def delete(self, key: str) -> None:
        del self.members[key]
        if self.spelling is not None:
            self.spelling.pop(key, None)
        self.dirty = True

    def is_assigned(self, key: str) -> bool:
        return key in self.assigned

    def rename(self, key: str, new: str) -> None:
        """Give a member a new key where it stands."""
        self.members = {new if name == key else name: value for name, value in self.members.items()}
        if self.spelling is not None and key in self.spelling:
            before, _, after = self.spelling.pop(key)
            self.spelling[new] = (before, _encode(new) + b":", after)
        self.assigned.add(new)
        self.dirty = True

    def write(self) -> bytes:
        if self.spelling is None:
            if not self.opened:
                return _encode(self.members)
            return _encode({key: _raw(value) for key, value in self.members.items()})
        parts = []
        for key, value in self.members.items():
            spelled = self.spelling.get(key)
            if spelled is None:
                parts.append(_encode(key) + b":" + _bytes(value))
            else:
                parts.append(spelled[0] + spelled[1] + _bytes(value) + spelled[2])
        return b"{" + b",".join(parts) + b"}"

    def copy(self, body: JsonBody) -> Node:
        twin = object.__new__(ObjectNode)
        twin.body, twin.raw, twin.depth, twin.dirty = body, self.raw, self.depth, self.dirty
        twin.members = {k: v.copy(body) if isinstance(v, Node) else v for k, v in self.members.items()}
        twin.opened = [value for value in twin.members.values() if isinstance(value, Node)]
        twin.spelling = dict(self.spelling) if self.spelling is not None else None
        twin.assigned = set(self.assigned)
        return twin


class ArrayNode(Node):
    """An opened array. `gaps` holds, per element that was there, the white space before and after it."""

    __slots__ = ("gaps", "items")

    assigned: dict[int, Any]

    def __init__(self, body: JsonBody, raw: bytes, depth: int) -> None:
        super().__init__(body, raw, depth)
        self.items: list[Any] = _decode_array(raw)
        self.gaps: list[tuple[bytes, bytes]] | None = None
        self.assigned = {}
        if len(raw) > _CANONICAL or _encode(self.items) != raw:
            self._cut(raw)

    def _cut(self, raw: bytes) -> None:
        self.gaps = []
        at = raw.index(b"[") + 1
        for value in self.items:
            start = _GAP.match(raw, at).end()  # type: ignore[union-attr]
            after = start + len(bytes(value))
            stop = _GAP.match(raw, after).end()  # type: ignore[union-attr]
            self.gaps.append((raw[at:start], raw[after:stop]))
            at = stop + 1

    def holds(self, key: Any) -> bool:
        return type(key) is int and 0 <= key < len(self.items)

    def child(self, key: int) -> Any:
        return self.items[key]

    def _attach(self, key: int, node: Node) -> None:
        if self.assigned and self.is_assigned(key):
            self.assigned[id(node)] = node
        self.items[key] = node

    def is_assigned(self, key: int) -> bool:
        return id(self.items[key]) in self.assigned

    def put(self, key: int, value: Any) -> None:
        self.items[key] = value
        self.assigned[id(value)] = value
        self.dirty = True

    def insert(self, index: int, value: Any) -> None:
        self.items.insert(index, value)
        self.assigned[id(value)] = value
        if self.gaps is not None:
            self.gaps.insert(index, (b"", b""))
        self.dirty = True

    def delete(self, index: int) -> None:
        del self.items[index]
        if self.gaps is not None:
            del self.gaps[index]
        self.dirty = True

    def write(self) -> bytes:
        if self.gaps is None:
            return _encode([_raw(value) for value in self.items] if self.opened else self.items)
        parts = [gap[0] + _bytes(value) + gap[1] for gap, value in zip(self.gaps, self.items, strict=True)]
        return b"[" + b",".join(parts) + b"]"

    def copy(self, body: JsonBody) -> Node:
        twin = object.__new__(ArrayNode)
        twin.body, twin.raw, twin.depth, twin.dirty = body, self.raw, self.depth, self.dirty
        twin.items = [value.copy(body) if isinstance(value, Node) else value for value in self.items]
        twin.opened = [value for value in twin.items if isinstance(value, Node)]
        twin.gaps = list(self.gaps) if self.gaps is not None else None
        pairs = zip(self.items, twin.items, strict=True) if self.assigned else ()
        twin.assigned = {id(after): after for before, after in pairs if id(before) in self.assigned}
        return twin


class JsonBody:
    """A JSON body. Nothing is decoded before it is asked for; what is malformed is Unreadable then."""

    __slots__ = ("_raw", "_root", "limit", "replaced", "side")

    def __init__(self, raw: bytes, side: Side, limit: int) -> None:
        self._raw = raw
        self._root: Node | None = None
        # A rule put another text in the place of the whole.
        self.replaced = False
        self.side: Side = side
        self.limit = limit

    # Opening

    def node(self, raw: bytes, depth: int) -> Node | None:
        """Open a text; None when it is neither object nor array."""
        start = raw.lstrip(_WHITE)[:1]
        if start not in (b"{", b"["):
            return None
        if depth > self.limit:
            raise Unreadable(self.side, f"the body is nested more than {self.limit} levels deep", 413)
        try:
            return ObjectNode(self, raw, depth) if start == b"{" else ArrayNode(self, raw, depth)
        except RecursionError:
            raise Unreadable(self.side, "the body is nested too deeply", 413) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unreadable(self.side, "the body is not JSON") from None

    @property
    def top(self) -> Node | None:
        """The opened body; None when it is neither object nor array."""
        if self._root is None:
            self._root = self.node(self._raw.strip(_WHITE), 1)
            if self._root is None:
                self._decode_whole(self._raw)
        return self._root

    @property
    def root(self) -> Node:
        """The opened body, which is to be edited; one that is neither object nor array is an EvaluationError."""
        top = self.top
        if top is None:
            raise EvaluationError("the body is neither an object nor an array", self.side)
        return top

    def locate(self, path: Path) -> Any:
        """Return the Raw or Node at a path; a missing part is an EvaluationError."""
        value: Any = self.top
        if value is None:
            value = Raw(self._raw)
        last = len(path) - 1
        for index, part in enumerate(path):
            if not isinstance(value, Node) or not value.holds(part):
                raise self.missing(path[: index + 1])
            value = value.child(part) if index == last else value.open(part) or value.child(part)
        return value

    def missing(self, path: Path) -> EvaluationError:
        return EvaluationError(f"the body has no {spell(path)}", self.side)

    # Reading

    def get(self, path: Path) -> Any:
        """Return the plain value at a path; a missing part is an EvaluationError."""
        return self.plain(self.locate(path))

    def plain(self, value: Any) -> Any:
        decoded = self._decode_whole(_bytes(value))
        if type(decoded) is int and not -INT64 <= decoded < INT64:
            raise EvaluationError("a number is out of the range of int", self.side)
        return decoded

    def has(self, path: Path) -> bool:
        """Say whether the last part of a path is there; an earlier one that is missing is an EvaluationError."""
        if not path:
            return True
        parent = self.locate(path[:-1])
        node = parent if isinstance(parent, Node) else self._open_at(path[:-1])
        if node is None:
            raise EvaluationError(f"{spell(path[:-1])} has no members", self.side)
        return node.holds(path[-1])

    def value(self) -> Any:
        """Return the whole body as a plain value."""
        return self.plain(Raw(self.dump()))

    def _decode_whole(self, raw: bytes) -> Any:
        """Decode a text with everything in it, duplicates refused on every level."""
        try:
            value = _decode(raw)
            if isinstance(value, dict | list):
                self._check_depth(value)
                if _encode(value) != raw:
                    json.loads(raw, object_pairs_hook=self._refuse_duplicates)
        except RecursionError:
            raise Unreadable(self.side, "the body is nested too deeply", 413) from None
        except (msgspec.DecodeError, UnicodeDecodeError, json.JSONDecodeError):
            raise Unreadable(self.side, "the body is not JSON") from None
        return value

    def _refuse_duplicates(self, pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            raise Unreadable(self.side, "a key stands twice in an object")

    def _check_depth(self, value: Any) -> None:
        level = [value]
        for _ in range(self.limit):
            level = [
                inner
                for item in level
                for inner in (item.values() if isinstance(item, dict) else item)
                if isinstance(inner, dict | list)
            ]
            if not level:
                return
        raise Unreadable(self.side, f"the body is nested more than {self.limit} levels deep", 413)

    # Editing

    def _open_at(self, path: Path) -> Node | None:
        if not path:
            return self.top
        value = self.locate(path[:-1])
        parent = value if isinstance(value, Node) else self._open_at(path[:-1])
        return parent.open(path[-1]) if parent is not None else None

    def parent(self, path: Path) -> Node | None:
        """Open what holds the last part of a path; None when that is missing or holds nothing."""
        node: Node | None = self.root
        for part in path[:-1]:
            node = node.open(part) if node is not None and node.holds(part) else None
        return node

    def replace(self, raw: Any) -> None:
        """Put another text in the place of the whole body."""
        self._raw = _bytes(raw)
        self._root = None
        self.replaced = True

    def become(self, other: JsonBody) -> None:
        """Take over what another body has come to be; that one is used no more."""
        self._raw, self.replaced = other._raw, other.replaced
        self._root = other._root.copy(self) if other._root is not None else None

    @property
    def edited(self) -> bool:
        return self.replaced or (self._root is not None and self._root.changed())

    def copy(self) -> JsonBody:
        twin = JsonBody(self._raw, self.side, self.limit)
        twin.replaced = self.replaced
        if self._root is not None:
            twin._root = self._root.copy(twin)
        return twin

    def dump(self) -> bytes:
        if self._root is None or not self._root.changed():
            return self._raw
        head = len(self._raw) - len(self._raw.lstrip(_WHITE))
        stem = len(self._raw.rstrip(_WHITE))
        return self._raw[:head] + self._root.write() + self._raw[stem:]


def spell(path: Path) -> str:
    """Write a path for a message."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "value"
