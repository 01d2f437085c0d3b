"""Heads, checked as they come in and written as they go out.

The library's parsers check the grammar; here is what a proxy must refuse beyond it, in both directions. Their
exceptions hold bytes of the message, so they are told apart by class and never kept, shown or chained.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp.http_exceptions import LineTooLong

from ..engine.dialects import phrase
from ..engine.message import Line, Request, Response
from ..engine.target import canonical
from .fields import (
    CLAIM,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    FORWARDED,
    HOP,
    HOST,
    INVALID,
    OF_A_HOP,
    SINGLE,
    TRACE,
    TRANSFER_ENCODING,
    UNDERSCORE,
    UPGRADE,
    VIA,
    classify,
    known,
    options,
    without_named,
)
from .options import Bounds, Trust
from .origin import Origin, Peer
from .refusal import Refusal

_BODYLESS = frozenset({204, 304})
_VERSIONS = ((1, 1), (1, 0))
_target = re.compile(r"/[!-\"$-~]*").fullmatch
_method = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+").fullmatch
_reason = re.compile(r"[\t -~]*").fullmatch
_REFUSED = frozenset({INVALID, UNDERSCORE})
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE", "TRACK", "PRI"})
_status_lines: dict[tuple[int, str | None], bytes] = {}


class RequestHead:
    """A request's head, checked. `length` is None where the body is chunked; `declared` says that there is a body.

    `trace` is the traceparent, empty where it came twice.
    """

    __slots__ = (
        "chunked", "close", "declared", "expects", "length", "lines", "method", "origin", "path", "query", "trace",
        "upgrade", "version",
    )  # fmt: skip

    method: str
    path: str
    query: str | None
    version: tuple[int, int]
    lines: list[Line]
    origin: Origin
    length: int | None
    declared: bool
    chunked: bool
    expects: bool
    trace: bytes | None
    upgrade: bytes | None
    close: bool


class ResponseHead:
    """A response's head, checked. `length` is None where chunks or the end of the connection tell the body's end."""

    __slots__ = ("chunked", "close", "length", "lines", "reason", "status", "upgrade")

    status: int
    reason: str
    lines: list[Line]
    length: int | None
    chunked: bool
    close: bool
    upgrade: bytes | None


def refusal_of(error: Exception, first_line: int, bounds: Bounds) -> Refusal:
    """Say which refusal an exception of the request parser means, by its class alone."""
    if isinstance(error, LineTooLong):
        if first_line > bounds.target:
            return Refusal(414, "the target is too long")
        return Refusal(431, "a header line is too long")
    return Refusal(400, "the request is malformed")


def read_request(message: Any, peer: Peer, bounds: Bounds, trust: Trust) -> RequestHead:
    """Check a parsed request head; raise Refusal or Unreadable for what must not go on."""
    version = message.version
    if version not in _VERSIONS:
        raise Refusal(505, "the version of HTTP is not 1.0 or 1.1")
    head = RequestHead()
    head.method = method = message.method
    head.version = (1, 1) if version == (1, 1) else (1, 0)
    if method in _REFUSED_METHODS:
        raise Refusal(405, "the method is never forwarded")
    raw = message.raw_headers
    if len(raw) > bounds.headers:
        raise Refusal(431, "there are too many headers")
    target = message.path
    if len(target) > bounds.target:
        raise Refusal(414, "the target is too long")
    head.path, head.query = canonical(target)
    lines: list[Line] = []
    special: list[tuple[int, Line]] | None = None
    host: bytes | None = None
    length: int | None = None
    head.trace = None
    for name, value in raw:
        key, kind, _ = known.get(name) or classify(name)
        if not kind:
            lines.append((key, name, value))
        elif kind == HOST:
            if host is not None:
                raise Refusal(400, "there is more than one Host")
            host = value
            lines.append((key, name, value))
        elif kind == CONTENT_LENGTH:
            if length is not None:
                raise Refusal(400, "there is more than one Content-Length")
            if not value.isdigit():
                raise Refusal(400, "the Content-Length is not a number")
            length = int(value)
            lines.append((key, name, value))
        elif kind == SINGLE:
            for line in lines:
                if line[0] == key:
                    raise Refusal(400, "a header that may stand once stands twice")
            lines.append((key, name, value))
        elif kind == TRACE:
            head.trace = value if head.trace is None else b""
            lines.append((key, name, value))
        elif kind in _REFUSED:
            raise Refusal(400, "a header's name is not allowed")
        elif special is None:
            special = [(kind, (key, name, value))]
        else:
            special.append((kind, (key, name, value)))
    head.chunked = head.expects = False
    head.upgrade = None
    head.close = message.should_close
    said: list[Line] = []
    if special is not None:
        lines, said = _special(head, special, lines, trusted=peer.trusted, trust=trust)
    if host is None:
        if version == (1, 1):
            raise Refusal(400, "there is no Host")
    elif not host:
        raise Refusal(400, "the Host is empty or malformed")
    head.origin = peer.origin(host.decode("latin-1") if host is not None else "", said)
    lines.extend(head.origin.lines)
    head.lines = lines
    _frame(head, length, bounds)
    return head


def _special(
    head: RequestHead, special: list[tuple[int, Line]], lines: list[Line], *, trusted: bool, trust: Trust
) -> tuple[list[Line], list[Line]]:
    """Take the fields that concern this hop; gives the lines that go on, and those that say whose request it is."""
    said: list[Line] = []
    connection: list[bytes] = []
    upgrades: list[bytes] = []
    for kind, line in special:
        value = line[2]
        if kind == CONNECTION:
            connection.append(value)
        elif kind == TRANSFER_ENCODING:
            _coding(head, value)
        elif kind == UPGRADE:
            upgrades.append(value)
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise Refusal(417, "the expectation is not 100-continue")
            head.expects = head.version == (1, 1)
        elif kind == FORWARDED:
            said.append(line)
        elif kind == VIA:
            if _signed(value, trust.pseudonym.encode()):
                raise Refusal(508, "the request came from this proxy")
            lines.append(line)
        elif kind == CLAIM and trusted:
            lines.append(line)
    named = options(connection) if connection else frozenset()
    if upgrades:
        _upgrade(head, upgrades, named, trust)
    return (without_named(lines, named) if named else lines), said


def _coding(head: RequestHead, value: bytes) -> None:
    if head.version != (1, 1):
        raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
    if head.chunked:
        raise Refusal(400, "there is more than one Transfer-Encoding")
    coding = value.lower()
    if coding != b"chunked":
        known = all(part.strip(b" \t") for part in coding.split(b",")) and coding.endswith(b"chunked")
        raise Refusal(501 if known else 400, "the Transfer-Encoding is not chunked")
    head.chunked = True


def _signed(value: bytes, pseudonym: bytes) -> bool:
    return any(part.split()[1:2] == [pseudonym] for part in value.split(b","))


def _upgrade(head: RequestHead, upgrades: list[bytes], named: frozenset[bytes], trust: Trust) -> None:
    protocol = upgrades[0].lower()
    if len(upgrades) > 1 or protocol not in trust.upgrades or b"upgrade" not in named:
        raise Refusal(400, "the upgrade is not supported")
    if head.method != "GET" or head.version != (1, 1):
        raise Refusal(400, "only a GET of HTTP/1.1 can be upgraded")
    head.upgrade = protocol


def _frame(head: RequestHead, length: int | None, bounds: Bounds) -> None:
    if head.chunked:
        if length is not None:
            raise Refusal(400, "there are Content-Length and Transfer-Encoding")
        head.length, head.declared = None, True
    else:
        head.length, head.declared = length or 0, length is not None
        if head.length > bounds.stream:
            raise Refusal(413, "the body is over the limit")
    if head.upgrade is not None and head.length != 0:
        raise Refusal(400, "an upgrade has no body")
    if head.length == 0:
        head.expects = False


def read_response(message: Any, method: str, bounds: Bounds) -> ResponseHead:
    """Check a parsed response head; raise Refusal for one that cannot be trusted to mean one thing."""
    version = message.version
    if version not in _VERSIONS:
        raise Refusal(502, "the answer's version of HTTP is not 1.0 or 1.1")
    head = ResponseHead()
    head.status = status = message.code
    head.reason = message.reason
    if not 100 <= status <= 599 or not _reason(head.reason):
        raise Refusal(502, "the answer's status line is not valid")
    if len(message.raw_headers) > bounds.headers:
        raise Refusal(502, "the answer has too many headers")
    lines: list[Line] = []
    length: int | None = None
    connection: list[bytes] = []
    upgrade: bytes | None = None
    located = chunked = False
    for name, value in message.raw_headers:
        key, kind, _ = known.get(name) or classify(name)
        if not kind:
            if key == b"location":
                if located:
                    raise Refusal(502, "the answer has more than one Location")
                located = True
            lines.append((key, name, value))
        elif kind == CONTENT_LENGTH:
            if length is not None or not value.isdigit():
                raise Refusal(502, "the answer's Content-Length is not one number")
            length = int(value)
            lines.append((key, name, value))
        elif kind == TRANSFER_ENCODING:
            if chunked or value.lower() != b"chunked" or version != (1, 1):
                raise Refusal(502, "the answer's Transfer-Encoding is not chunked")
            chunked = True
        elif kind == SINGLE:
            if any(line[0] == key for line in lines):
                raise Refusal(502, "the answer has a header twice that may stand once")
            lines.append((key, name, value))
        elif kind == CONNECTION:
            connection.append(value)
        elif kind == UPGRADE:
            upgrade = value.lower()
        elif kind == INVALID:
            raise Refusal(502, "a name of the answer's headers is not valid")
        elif kind != HOP:
            lines.append((key, name, value))
    if chunked and length is not None:
        raise Refusal(502, "the answer has Content-Length and Transfer-Encoding")
    named = options(connection) if connection else frozenset()
    head.close = b"close" in named or (version == (1, 0) and b"keep-alive" not in named)
    head.lines = without_named(lines, named) if named else lines
    head.upgrade = upgrade
    head.chunked = chunked
    head.length = length
    if method == "HEAD" or status in _BODYLESS or status < 200:
        head.length, head.chunked = 0, False
    return head


def write_request(
    request: Request, *, base: str, authority: bytes, via: bytes, framing: bytes, upgrade: bytes | None = None
) -> bytes:
    """Write a request's head for the upstream; `framing` holds the lines about the body, without the last end."""
    target = base + request.url
    if not _target(target) or not _method(request.method):
        raise Refusal(500, "a rule made a target or method that cannot be sent")
    lines = [f"{request.method} {target} HTTP/1.1".encode("latin-1"), b"Host: " + authority]
    signed = False
    for _, name, value in request.headers.lines:
        _, kind, begin = known.get(name) or classify(name)
        if kind:
            if kind in OF_A_HOP:
                continue
            if kind == INVALID:
                raise Refusal(500, "a rule made a header name that cannot be sent")
            if kind == VIA and not signed:
                signed = True
                value = value + b", " + via
        lines.append(begin + value)
    if not signed:
        lines.append(b"Via: " + via)
    if upgrade is not None:
        lines += (b"Connection: Upgrade", b"Upgrade: " + upgrade)
    return _whole(lines, framing)


def write_response(response: Response, *, framing: bytes, connection: bytes) -> bytes:
    """Write a response's head for the client; `framing` and `connection` are lines without the last end, or nothing."""
    status, reason = response.status, response.reason
    line = _status_lines.get((status, reason))
    if line is None:
        line = _status_line(status, reason)
    lines = [line]
    for _, name, value in response.headers.lines:
        _, kind, begin = known.get(name) or classify(name)
        if kind:
            if kind in OF_A_HOP:
                continue
            if kind == INVALID:
                raise Refusal(500, "a rule made a header name that cannot be sent")
        lines.append(begin + value)
    return _whole(lines, framing, connection)


def _status_line(status: int, reason: str | None) -> bytes:
    text = phrase(status) if reason is None else reason
    if not _reason(text) or not 100 <= status <= 599:
        raise Refusal(500, "a rule made a status line that cannot be sent")
    line = f"HTTP/1.1 {status} {text}".encode("ascii")
    if len(_status_lines) >= 512:
        _status_lines.clear()
    _status_lines[(status, reason)] = line
    return line


def _whole(lines: list[bytes], *ours: bytes) -> bytes:
    """Join lines to a head, if no line holds a break: the last guard against a header that splits a message.

    `ours` are lines that nobody else has a part in, or nothing; one of them may be several.
    """
    text = b"".join(lines)
    if b"\r" in text or b"\n" in text or b"\0" in text:
        raise Refusal(500, "a header holds a line break or a null byte")
    lines += [line for line in ours if line]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
