"""What Envoy tells of messages, as the engine has them; and the engine's messages, as Envoy takes them.

Header values are bytes in both directions: Envoy's external processing reads `raw_value`, its external authorization
`value` (and would take the other for an empty header), so each adapter says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue, HeaderValueOption

from ..edge.head import read_response, write_request, write_response
from ..edge.options import Bounds
from ..edge.refusal import Refusal
from ..engine.message import Headers, Limits, Line, Request, Response
from .header_edits import HeaderEdits, by_name, compare
from .original import Original

_OVERWRITE = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_FOR = b"x-forwarded-for"
_PROTO = b"x-forwarded-proto"
# What Envoy itself writes about the client.
_THEIRS = frozenset({_FOR, _PROTO, b"x-forwarded-port", b"x-forwarded-client-cert"})
# What a client may have written of its way here, which Envoy passes on unread.
_CLAIMED = frozenset({b"forwarded", b"x-forwarded-host"})


@dataclass(frozen=True, slots=True)
class Head:
    """A head as Envoy holds it: its pseudo-headers, and its other lines."""

    pseudo: dict[bytes, bytes]
    lines: list[Line]

    @classmethod
    def of(cls, headers: HeaderMap) -> Head:
        return cls.of_lines((one.key, one.raw_value or one.value.encode()) for one in headers.headers)

    @classmethod
    def of_lines(cls, told: Iterable[tuple[str, bytes]]) -> Head:
        """Gather a head from names and values."""
        pseudo: dict[bytes, bytes] = {}
        lines: list[Line] = []
        for text, value in told:
            name = text.lower().encode()
            if name.startswith(b":"):
                pseudo[name] = value
            else:
                lines.append((name, name, value))
        return cls(pseudo, lines)

    def without(self, key: bytes) -> Head:
        """Give this head without a name."""
        return Head(self.pseudo, [line for line in self.lines if line[0] != key])

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.pseudo.get(b":status", b"0"))

    @property
    def has_length(self) -> bool:
        return any(key == b"content-length" for key, _, _ in self.lines)

    @property
    def length(self) -> int:
        """The length of the body where it is told, else 0."""
        told = [value for key, _, value in self.lines if key == b"content-length"]
        return int(told[0]) if told and told[0].isdigit() else 0

    def original(self, source: str) -> Original:
        """Give the request that this is the head of; `source` is the address that Envoy takes for the client's."""
        said = b",".join(value for key, _, value in self.lines if key == _FOR).decode("latin-1")
        hops = [hop.strip() for hop in said.split(",")] if said else []
        # Envoy has put its peer at the end.
        if hops and _bare(hops[-1]) == _bare(source):
            hops.pop()
        # It writes the scheme of the client's connection, or passes on what a proxy said that it trusts.
        proto = [value for key, _, value in self.lines if key == _PROTO]
        scheme = proto[0] if len(proto) == 1 else self.pseudo.get(b":scheme", b"")
        return Original(
            self.pseudo.get(b":method", b"").decode("latin-1"),
            self.pseudo.get(b":path", b"").decode("latin-1"),
            self.pseudo.get(b":authority", b""),
            scheme.decode("latin-1").lower(),
            (*hops, source),
            [(name, value) for key, name, value in self.lines if key != _FOR],
        )

    def response(self, bounds: Bounds, limits: Limits) -> Response:
        """Give the answer of the upstream that this is the head of; raise Refusal for one that is not to be trusted."""
        told = _Answer(self.status, [(name, value) for _, name, value in self.lines])
        # Whether there is a body Envoy says itself; that of an answer to a HEAD has none in any case.
        head = read_response(told, "HEAD", bounds)
        return Response(head.status, Headers(head.lines, side="response"), limits=limits)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer's head as the parsers of the edge would give it."""

    code: int
    raw_headers: list[tuple[bytes, bytes]]
    reason: ClassVar[str] = ""
    version: ClassVar[tuple[int, int]] = (1, 1)


def _bare(address: str) -> str:
    """Leave out the port of an address."""
    host, colon, port = address.rpartition(":")
    bare = host if colon and port.isdigit() and ("]" in host or ":" not in host) else address
    return bare.strip("[]")


def edit_request(head: Head, request: Request, *, trusted: bool) -> tuple[HeaderEdits, dict[bytes, bytes]]:
    """Give the edits that make a head what the request is now, its pseudo-headers apart; raise Refusal for a request
    that cannot be sent.
    """
    write_request(request, base="", authority=b"", via=b"", framing=b"")
    edits = compare(head.lines, request.headers.lines, kept=_THEIRS | _CLAIMED)
    if not trusted:
        edits.removed.extend({key for key, _, _ in head.lines if key in _CLAIMED})
    wanted = {b":method": request.method.encode("latin-1"), b":path": request.url.encode("latin-1")}
    return edits, {name: value for name, value in wanted.items() if head.pseudo.get(name) != value}


def edit_response(head: Head, response: Response) -> tuple[HeaderEdits, dict[bytes, bytes]]:
    """Give the edits that make a head what the answer is now; raise Refusal for an answer that cannot be sent."""
    check_response(response)
    status = b"%d" % response.status
    pseudo = {b":status": status} if head.pseudo.get(b":status") != status else {}
    return compare(head.lines, response.headers.lines), pseudo


def check_response(response: Response) -> None:
    """Raise Refusal for an answer that cannot be sent."""
    write_response(response, framing=b"", connection=b"")


def lines_of(response: Response) -> dict[bytes, list[bytes]]:
    """Give the headers of an answer that is made here."""
    return by_name(response.headers.lines)


def options(values: Iterable[tuple[bytes, Iterable[bytes]]], *, raw: bool) -> Iterator[HeaderValueOption]:
    """Write headers for Envoy: the first value of a name replaces what is there, the others are lines of their own."""
    for name, lines in values:
        for position, value in enumerate(lines):
            header = HeaderValue(key=name.decode("latin-1"))
            if raw:
                header.raw_value = value
            else:
                header.value = _text(value)
            option = HeaderValueOption(header=header, keep_empty_value=True)
            if position:
                # The action that appends is the number 0, which Envoy takes for one that is not given.
                option.append.value = True
            else:
                option.append_action = _OVERWRITE
            yield option


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Refusal(500, "a header holds bytes that are not UTF-8, which cannot be told to Envoy") from None
