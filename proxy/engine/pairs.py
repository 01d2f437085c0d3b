"""Name-value pairs in one string: queries, forms, cookies.

Every pair keeps its spelling until it is edited, so that an edit changes only what it names. A name that occurs more
than once can be listed but neither read nor edited: which of the two the other side would take is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote_plus, unquote_to_bytes

from .errors import EvaluationError, Side, Unreadable


def decode_form(text: str) -> str:
    """Decode one name or value of a query or form; raise UnicodeDecodeError when it is not UTF-8."""
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")


def encode_form(text: str) -> str:
    """Encode one name or value of a query or form."""
    return quote_plus(text, safe="")


def as_is(text: str) -> str:
    """Return a cookie's name or value as it stands: cookies have no encoding of their own."""
    return text


# A pair with what is empty after it, and before the first one: `a=1&&b=2&`.
_WITH_EMPTY = re.compile(r"(?:\A&+)?[^&]+(?:&+(?=&|\Z))?")


def _cut(text: str, separator: str) -> Iterable[str]:
    """Cut a text into the spellings of its pairs; of a query or form nothing is lost, also what is empty."""
    if separator == ";":
        return filter(None, (spelling.strip(" \t") for spelling in text.split(separator)))
    if "&&" in text or text[:1] == "&" or text[-1:] == "&":
        return _WITH_EMPTY.findall(text)
    return text.split("&") if text else ()


class Pairs:
    """The pairs of one string, in order, as lists of [spelling, name, value]."""

    __slots__ = ("_decode", "_encode", "edited", "joiner", "kind", "parts", "side")

    def __init__(
        self,
        text: str,
        *,
        kind: str,
        side: Side,
        separator: str = "&",
        joiner: str = "&",
        decode: Callable[[str], str] = decode_form,
        encode: Callable[[str], str] = encode_form,
    ) -> None:
        self.kind = kind
        self.side: Side = side
        self.joiner = joiner
        self._decode = decode
        self._encode = encode
        self.edited = False
        parts: list[tuple[str, str, str]] = []
        for spelling in _cut(text, separator):
            name, _, value = spelling.strip(separator).partition("=")
            try:
                parts.append((spelling, decode(name), decode(value)))
            except UnicodeDecodeError:
                raise Unreadable(side, f"the {kind} has a value that is not UTF-8") from None
        self.parts = parts

    @classmethod
    def of_cookies(cls, text: str) -> Pairs:
        """Read a Cookie header (RFC 6265 section 4.2)."""
        return cls(text, kind="Cookie header", side="request", separator=";", joiner="; ", decode=as_is, encode=as_is)

    def copy(self) -> Pairs:
        twin = object.__new__(Pairs)
        twin.kind, twin.side, twin.joiner, twin.edited = self.kind, self.side, self.joiner, self.edited
        twin._decode, twin._encode = self._decode, self._encode
        twin.parts = list(self.parts)
        return twin

    def names(self) -> list[str]:
        return [name for _, name, _ in self.parts]

    def has(self, name: str) -> bool:
        return any(part[1] == name for part in self.parts)

    def all(self, name: str) -> list[str]:
        return [value for _, other, value in self.parts if other == name]

    def get(self, name: str) -> str:
        """Return the one value of a name; a missing one is an EvaluationError, a repeated one is Unreadable."""
        index = self.find(name)
        if index is None:
            raise EvaluationError(f"the {self.kind} has no {name!r}", self.side)
        return self.parts[index][2]

    def find(self, name: str) -> int | None:
        """Return the position of a name, or None; a repeated one is Unreadable."""
        found = [i for i, part in enumerate(self.parts) if part[1] == name]
        if len(found) > 1:
            raise Unreadable(self.side, f"the {self.kind} has {name!r} more than once")
        return found[0] if found else None

    def values(self) -> dict[str, str]:
        """Return every name with its one value; a repeated name is Unreadable."""
        found = {name: value for _, name, value in self.parts}
        if len(found) < len(self.parts):
            raise Unreadable(self.side, f"the {self.kind} has a name more than once")
        return found

    def set(self, name: str, value: str) -> None:
        index = self.find(name)
        part = (f"{self._encode(name)}={self._encode(value)}", name, value)
        self.edited = True
        if index is None:
            self.parts.append(part)
        else:
            self.parts[index] = part

    def add(self, name: str, value: str) -> None:
        self.edited = True
        self.parts.append((f"{self._encode(name)}={self._encode(value)}", name, value))

    def remove(self, name: str) -> None:
        index = self.find(name)
        if index is not None:
            self.edited = True
            del self.parts[index]

    def rename(self, name: str, new: str) -> None:
        """Give a pair a new name where it stands; a name that is already there is an EvaluationError."""
        index = self.find(name)
        if index is None:
            return
        if self.has(new):
            raise EvaluationError(f"the {self.kind} already has {new!r}", self.side)
        spelling, _, value = self.parts[index]
        raw = spelling.partition("=")
        self.edited = True
        self.parts[index] = (f"{self._encode(new)}{raw[1]}{raw[2]}", new, value)

    def dump(self) -> str:
        return self.joiner.join(part[0] for part in self.parts)
