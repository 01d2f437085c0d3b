"""A JSON body that is opened no further than a rule touches, and keeps every byte that no rule named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Raw

from .errors import EvaluationError, Side, Unreadable
from .json_nodes import Node, open_text, text_of

INT64 = 1 << 63
_WHITE = b" \t\n\r"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

Path = tuple[str | int, ...]


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

    @property
    def top(self) -> Node | None:
        """The opened body; None when it is neither object nor array."""
        if self._root is None:
            self._root = open_text(self._raw.strip(_WHITE), self.side, self.limit, 1)
            if self._root is None:
                self._decode_whole(self._raw)
        return self._root

    @property
    def root(self) -> Node:
        """The opened body, which is to be edited; one that is neither object nor array is an EvaluationError."""
        top = self._root or self.top
        if top is None:
            raise EvaluationError("the body is neither an object nor an array", self.side)
        return top

    def locate(self, path: Path) -> Any:
        """Return the Raw or Node at a path; a missing part is an EvaluationError."""
        value: Any = self._root or self.top
        if value is None:
            value = Raw(self._raw)
        last = len(path) - 1
        for index, part in enumerate(path):
            found = value.find(part) if isinstance(value, Node) else None
            if found is None:
                raise self.missing(path[: index + 1])
            value = found if index == last else value.open(part) or found
        return value

    def missing(self, path: Path) -> EvaluationError:
        return EvaluationError(f"the body has no {spell(path)}", self.side)

    # Reading

    def get(self, path: Path) -> Any:
        """Return the plain value at a path; a missing part is an EvaluationError."""
        return self.plain(self.locate(path))

    def number(self, path: Path) -> Any:
        """Return the plain value at a path, also an integer that expressions cannot hold."""
        return self._decode_whole(_text(self.locate(path)))

    def plain(self, value: Any) -> Any:
        decoded = self._decode_whole(_text(value))
        if type(decoded) is int and not -INT64 <= decoded < INT64:
            raise EvaluationError("a number is out of the range of int", self.side)
        return decoded

    def has(self, path: Path) -> bool:
        """Say whether the last part of a path is there; an earlier one that is missing is an EvaluationError."""
        if not path:
            return True
        node = self._open_at(path[:-1])
        if node is None:
            raise EvaluationError(f"{spell(path[:-1])} has no members", self.side)
        return node.find(path[-1]) is not None

    def value(self) -> Any:
        """Return the whole body as a plain value."""
        return self.plain(Raw(self.dump()))

    def _decode_whole(self, text: Any) -> Any:
        """Decode a text (bytes or Raw) with everything in it, duplicates refused on every level."""
        try:
            value = _decode(text)
            if type(value) is dict or type(value) is list:
                self._check_depth(value)
                raw = bytes(text)
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
        """Open what is at a path, None when it has no members; a missing part is an EvaluationError."""
        if path:
            self.locate(path)
        node = self.top
        for part in path:
            node = node.open(part) if node is not None else None
        return node

    def parent(self, path: Path) -> Node | None:
        """Open what holds the last part of a path; None when that is missing or holds nothing."""
        node: Node | None = self.root
        for part in path[:-1]:
            node = node.open(part) if node is not None else None
        return node

    def replace(self, raw: Any) -> None:
        """Put another text in the place of the whole body."""
        self._raw = text_of(raw)
        self._root = None
        self.replaced = True

    def become(self, other: JsonBody) -> None:
        """Take over what another body has come to be; that one is used no more."""
        self._raw, self.replaced = other._raw, other.replaced
        self._root = other._root

    @property
    def edited(self) -> bool:
        return self.replaced or (self._root is not None and self._root.changed())

    def copy(self) -> JsonBody:
        twin = JsonBody(self._raw, self.side, self.limit)
        twin.replaced = self.replaced
        if self._root is not None:
            twin._root = self._root.copy()
        return twin

    def dump(self) -> bytes:
        if self._root is None or not self._root.changed():
            return self._raw
        head = len(self._raw) - len(self._raw.lstrip(_WHITE))
        stem = len(self._raw.rstrip(_WHITE))
        return self._raw[:head] + self._root.write() + self._raw[stem:]


def _text(value: Any) -> Any:
    """Give the text of a member to a decoder, which takes it as it is."""
    return value.dump() if isinstance(value, Node) else value


def spell(path: Path) -> str:
    """Write a path for a message."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "value"
