"""The opened objects and arrays of a JSON body: their members as raw text, and what stands around each.

An object or array is opened by decoding it to raw members. When encoding these again gives the same bytes, there was
no duplicate key and no spelling to lose. Otherwise the members are cut out of the text with the white space and the
key spelling around them, and put back the same way.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from msgspec import Raw

from .errors import EvaluationError, Side, Unreadable

# Above this an object is not encoded again to see whether it comes out the same: cutting it is as cheap.
_CANONICAL = 1 << 16
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
_encode = msgspec.json.Encoder().encode


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
    """An opened object or array. It knows nothing of what holds it, so that a body goes when its last user does."""

    __slots__ = ("depth", "dirty", "limit", "opened", "raw", "side")

    def __init__(self, raw: bytes, side: Side, limit: int, depth: int) -> None:
        self.raw = raw
        self.side: Side = side
        self.limit = limit
        self.depth = depth
        self.dirty = False
        # What was opened below: an edit further down makes this one's text another too.
        self.opened: list[Node] = []

    def find(self, key: Any) -> Any:
        """Return the member below a key as it stands, Raw or Node; None when there is none."""
        raise KeyError(key)

    def delete(self, key: Any) -> bool:
        """Take out the member below a key; say whether there was one."""
        raise KeyError(key)

    def put(self, key: Any, value: Any) -> None:
        raise KeyError(key)

    def holds(self, key: Any) -> bool:
        return self.find(key) is not None

    def open(self, key: Any) -> Node | None:
        """Open the member below a key; None when there is none, or it is neither object nor array."""
        value = self.find(key)
        if value is None or isinstance(value, Node):
            return value
        node = open_text(bytes(value), self.side, self.limit, self.depth + 1)
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
        return self.write() if self.changed() else self.raw

    def write(self) -> bytes:
        return self.raw

    def is_assigned(self, key: Any) -> bool:
        """Say whether a rule put the member there."""
        raise KeyError(key)

    def copy(self) -> Node:
        raise KeyError


def open_text(raw: bytes, side: Side, limit: int, depth: int) -> Node | None:
    """Open a text that has no white space around it; None when it is neither object nor array."""
    is_object = raw.startswith(b"{")
    if not is_object and not raw.startswith(b"["):
        return None
    if depth > limit:
        raise Unreadable(side, f"the body is nested more than {limit} levels deep", 413)
    try:
        return ObjectNode(raw, side, limit, depth) if is_object else ArrayNode(raw, side, limit, depth)
    except RecursionError:
        raise Unreadable(side, "the body is nested too deeply", 413) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(side, "the body is not JSON") from None


def text_of(value: Any) -> bytes:
    """Give the text of a member, opened or not."""
    return value.dump() if isinstance(value, Node) else bytes(value)


def _write_node(node: Any) -> Raw:
    return Raw(node.dump())


# Encodes members of which some are opened.
_encode_members = msgspec.json.Encoder(enc_hook=_write_node).encode


class ObjectNode(Node):
    """An opened object. `spelling` holds, per key that was there, what stands before and around it in the text."""

    __slots__ = ("assigned", "members", "spelling")

    members: dict[str, Any]

    def __init__(self, raw: bytes, side: Side, limit: int, depth: int, members: dict[str, Any] | None = None) -> None:
        super().__init__(raw, side, limit, depth)
        self.spelling: dict[str, tuple[bytes, bytes, bytes]] | None = None
        # The names of the members that rules put there.
        self.assigned: set[str] = set()
        if members is not None:
            self.members = members
            return
        if len(raw) <= _CANONICAL:
            found = _decode_object(raw)
            if _encode(found) == raw:
                self.members = found
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
                raise Unreadable(self.side, "a key stands twice in an object")
            start = _GAP.match(raw, at).end()  # type: ignore[union-attr]
            found = _KEY.match(raw, start)
            if found is None:
                raise Unreadable(self.side, "an object is malformed")
            after = found.end() + len(bytes(value))
            stop = _GAP.match(raw, after).end()  # type: ignore[union-attr]
            self.spelling[name] = (raw[at:start], found[1], raw[after:stop])
            self.members[name] = value
            at = stop + 1

    def find(self, key: Any) -> Any:
        return self.members.get(key)

    def _attach(self, key: str, node: Node) -> None:
        self.members[key] = node

    def put(self, key: str, value: Any) -> None:
        self.members[key] = value
        self.assigned.add(key)
        self.dirty = True

    def delete(self, key: str) -> bool:
        if self.members.pop(key, None) is None:
            return False
        if self.spelling is not None:
            self.spelling.pop(key, None)
        self.dirty = True
        return True

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
            return _encode_members(self.members)
        parts = []
        for key, value in self.members.items():
            spelled = self.spelling.get(key)
            if spelled is None:
                parts.append(_encode(key) + b":" + text_of(value))
            else:
                parts.append(spelled[0] + spelled[1] + text_of(value) + spelled[2])
        return b"{" + b",".join(parts) + b"}"

    def copy(self) -> Node:
        members = {k: v.copy() if isinstance(v, Node) else v for k, v in self.members.items()}
        twin = ObjectNode(self.raw, self.side, self.limit, self.depth, members)
        twin.dirty = self.dirty
        twin.opened = [value for value in twin.members.values() if isinstance(value, Node)]
        twin.spelling = dict(self.spelling) if self.spelling is not None else None
        twin.assigned = set(self.assigned)
        return twin


class ArrayNode(Node):
    """An opened array. `gaps` holds, per element that was there, the white space before and after it."""

    __slots__ = ("assigned", "gaps", "items")

    def __init__(self, raw: bytes, side: Side, limit: int, depth: int, items: list[Any] | None = None) -> None:
        super().__init__(raw, side, limit, depth)
        self.gaps: list[tuple[bytes, bytes]] | None = None
        # The elements that rules put there, by identity, as indexes move.
        self.assigned: dict[int, Any] = {}
        self.items: list[Any] = _decode_array(raw) if items is None else items
        if items is not None:
            return
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

    def find(self, key: Any) -> Any:
        return self.items[key] if type(key) is int and 0 <= key < len(self.items) else None

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

    def delete(self, index: int) -> bool:
        if self.find(index) is None:
            return False
        del self.items[index]
        if self.gaps is not None:
            del self.gaps[index]
        self.dirty = True
        return True

    def write(self) -> bytes:
        if self.gaps is None:
            return _encode_members(self.items)
        parts = [gap[0] + text_of(value) + gap[1] for gap, value in zip(self.gaps, self.items, strict=True)]
        return b"[" + b",".join(parts) + b"]"

    def copy(self) -> Node:
        items = [value.copy() if isinstance(value, Node) else value for value in self.items]
        twin = ArrayNode(self.raw, self.side, self.limit, self.depth, items)
        twin.dirty = self.dirty
        twin.opened = [value for value in twin.items if isinstance(value, Node)]
        twin.gaps = list(self.gaps) if self.gaps is not None else None
        pairs = zip(self.items, twin.items, strict=True) if self.assigned else ()
        twin.assigned = {id(after): after for before, after in pairs if id(before) in self.assigned}
        return twin
