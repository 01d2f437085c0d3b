"""Requests and responses as plain data.

Header lines stay the bytes they were, with the lower-case name beside them; a body stays bytes until a rule opens it.
What is not UTF-8 is refused when a rule reads it, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from mypy_extensions import mypyc_attr

from .body import FormBody, JsonBody, encode_content, open_body
from .errors import Side, Unreadable
from .pairs import Pairs

Line = tuple[bytes, bytes, bytes]

# Fields that describe the bytes of a body and so are wrong once it was edited. Content-Length is the edge's.
STALE = frozenset({b"etag", b"digest", b"content-digest", b"repr-digest", b"content-md5"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a message rules may read: bytes as sent, bytes after decoding, levels of nesting."""

    body: int = 4 << 20
    decoded: int = 8 << 20
    depth: int = 64


class Headers:
    """Header lines in order, as (lower-case name, name, value) in bytes."""

    __slots__ = ("lines", "side")

    def __init__(self, lines: Iterable[Line] = (), *, side: Side = "request") -> None:
        self.lines: list[Line] = list(lines)
        self.side: Side = side

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], *, side: Side = "request") -> Headers:
        """Build headers from text, which is sent as UTF-8."""
        return cls(((n.lower().encode(), n.encode(), v.encode()) for n, v in pairs), side=side)

    def copy(self) -> Headers:
        return Headers(self.lines, side=self.side)

    def __contains__(self, key: bytes) -> bool:
        return any(line[0] == key for line in self.lines)

    def values(self, key: bytes) -> list[bytes]:
        """Return the values of every line of a name, which is given in lower case."""
        return [line[2] for line in self.lines if line[0] == key]

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a name given in lower case, several lines joined by a comma."""
        found = [line[2] for line in self.lines if line[0] == key]
        if not found:
            return None
        return found[0] if len(found) == 1 else b", ".join(found)

    def text(self, key: bytes) -> str | None:
        """Return a value as text; bytes that are not UTF-8 are Unreadable."""
        value = self.get(key)
        if value is None:
            return None
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable(self.side, f"the header {key.decode('latin-1')} is not UTF-8") from None

    def set(self, name: bytes, value: bytes) -> None:
        """Leave one line of a name: where its first one stood, else at the end."""
        key = name.lower()
        lines = self.lines
        for index, line in enumerate(lines):
            if line[0] == key:
                lines[index] = (key, name, value)
                if any(other[0] == key for other in lines[index + 1 :]):
                    lines[index + 1 :] = [other for other in lines[index + 1 :] if other[0] != key]
                return
        lines.append((key, name, value))

    def add(self, name: bytes, value: bytes) -> None:
        self.lines.append((name.lower(), name, value))

    def remove(self, key: bytes) -> None:
        """Drop every line of a name given in lower case."""
        if any(line[0] == key for line in self.lines):
            self.lines = [line for line in self.lines if line[0] != key]

    def discard(self, keys: frozenset[bytes]) -> None:
        """Drop every line of some names, given in lower case."""
        self.lines = [line for line in self.lines if line[0] not in keys]

    def discard_like(self, matches: Callable[[bytes], object]) -> None:
        """Drop every line whose lower-case name matches."""
        self.lines = [line for line in self.lines if not matches(line[0])]


@mypyc_attr(allow_interpreted_subclasses=True)
class Message:
    """What requests and responses share: headers and a body that is opened when a rule asks for it.

    `content` is the body as it was sent (still coded); None when there is none, or when it passes through.
    """

    __slots__ = ("_document", "content", "headers", "limits")
    side: ClassVar[Side]

    def __init__(self, headers: Headers, content: bytes | None, limits: Limits) -> None:
        self.headers = headers
        self.content = content
        self.limits = limits
        self._document: JsonBody | FormBody | None = None

    @property
    def has_body(self) -> bool:
        return bool(self.content)

    @property
    def document(self) -> JsonBody | FormBody:
        """Open the body; one that is missing or cannot be read raises EvaluationError or Unreadable."""
        document = self._document
        if document is None:
            document = self._document = open_body(self.headers, self.content, self.limits, self.side)
        return document

    @property
    def edited(self) -> bool:
        return self._document is not None and self._document.edited

    def settle(self) -> None:
        """Write an edited document back into `content`, in its coding; drop the fields that described the old bytes."""
        document = self._document
        if document is not None and document.edited:
            self.content = encode_content(document.dump(), self.headers)
            self.headers.discard(STALE)
            self._document = None

    def replace(self, content: bytes) -> None:
        """Put another body in the place of the one that is there, edits and all."""
        self.content = content
        self._document = None

    def _copy_body(self, twin: Message) -> None:
        twin._document = self._document.copy() if self._document is not None else None


@mypyc_attr(allow_interpreted_subclasses=True)
class Request(Message):
    """A request as it stands: `path` is canonical (target.py), `query` is None where there was no question mark.

    `ip` is the client's address after the trusted proxies, `ips` the chain that led to it.
    """

    __slots__ = ("_cookies", "_parameters", "host", "ip", "ips", "method", "path", "query", "scheme", "version")
    side: ClassVar[Side] = "request"

    def __init__(
        self,
        method: str,
        path: str,
        query: str | None,
        headers: Headers,
        content: bytes | None = None,
        *,
        limits: Limits,
        scheme: str = "http",
        host: str = "",
        ip: str = "",
        ips: tuple[str, ...] = (),
        version: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__(headers, content, limits)
        self.method = method
        self.path = path
        self.query = query
        self.scheme = scheme
        self.host = host
        self.ip = ip
        self.ips = ips
        self.version = version
        self._parameters: Pairs | None = None
        self._cookies: Pairs | None = None

    @property
    def url(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def parameters(self) -> Pairs:
        """The query's pairs, to read; an edit goes through `set_parameters`."""
        if self._parameters is None:
            self._parameters = Pairs(self.query or "", kind="query", side="request")
        return self._parameters

    def set_parameters(self, pairs: Pairs) -> None:
        """Write edited pairs back as the query; none left drops the question mark."""
        self._parameters = pairs
        self.query = pairs.dump() or None

    @property
    def cookies(self) -> Pairs:
        """The Cookie header's pairs, to read; an edit goes through `set_cookies`. Several Cookie lines read as one."""
        if self._cookies is None:
            try:
                text = b"; ".join(self.headers.values(b"cookie")).decode("utf-8")
            except UnicodeDecodeError:
                raise Unreadable("request", "the Cookie header is not UTF-8") from None
            self._cookies = Pairs.of_cookies(text)
        return self._cookies

    def set_cookies(self, pairs: Pairs) -> None:
        """Write edited pairs back as one Cookie header; none left drops it."""
        self._cookies = pairs
        text = pairs.dump().encode()
        if text:
            self.headers.set(b"Cookie", text)
        else:
            self.headers.remove(b"cookie")

    def copy(self) -> Self:
        twin = type(self)(
            self.method, self.path, self.query, self.headers.copy(), self.content, limits=self.limits,
            scheme=self.scheme, host=self.host, ip=self.ip, ips=self.ips, version=self.version,
        )  # fmt: skip
        self._copy_body(twin)
        return twin


@mypyc_attr(allow_interpreted_subclasses=True)
class Response(Message):
    """A response as it stands. `origin` says who made it: upstream, rule or proxy."""

    __slots__ = ("origin", "reason", "status")
    side: ClassVar[Side] = "response"

    def __init__(
        self,
        status: int,
        headers: Headers,
        content: bytes | None = None,
        *,
        limits: Limits,
        reason: str | None = None,
        origin: str = "upstream",
    ) -> None:
        super().__init__(headers, content, limits)
        self.status = status
        self.reason = reason
        self.origin = origin

    def copy(self) -> Self:
        twin = type(self)(
            self.status, self.headers.copy(), self.content, limits=self.limits, reason=self.reason, origin=self.origin
        )
        self._copy_body(twin)
        return twin
