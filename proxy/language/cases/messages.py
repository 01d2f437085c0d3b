"""The messages of a case, made from what stands in the file."""

from __future__ import annotations

import base64
from typing import Literal
from urllib.parse import urlencode

import msgspec

from ...engine import codings
from ...engine.effects import Answer
from ...engine.errors import Unreadable
from ...engine.message import Headers, Limits, Request, Response
from ...engine.ruleset import Ruleset
from ...engine.target import canonical
from ..document import plain
from .content import Content, GivenLookup, GivenRequest, GivenUpstream, listed

# A request that has one of them twice is refused before any rule sees it.
_ONCE = (b"authorization", b"content-type", b"host")


class CaseError(Exception):
    """A case that cannot be played, in words for who wrote it."""


def make_request(given: GivenRequest, ruleset: Ruleset, limits: Limits, kind: type[Request] = Request) -> Request:
    """Make a request; raise CaseError, or Unreadable for one that is refused before there is an exchange."""
    method, written = write_target(given, ruleset)
    target, query = canonical(written)
    headers, content = write_request(given)
    for name in _ONCE:
        if len(headers.values(name)) > 1:
            raise Unreadable("request", f"there is more than one {name.decode()}")
    host = headers.text(b"host") or "localhost"
    return kind(
        method, target, query, headers, content,
        limits=limits, scheme=given.scheme, host=host, ip=given.ip, ips=(given.ip, *given.through),
    )  # fmt: skip


def write_target(given: GivenRequest, ruleset: Ruleset) -> tuple[str, str]:
    """Write the method and the target of a request, as they would be sent; raise CaseError."""
    method, path = given.method, given.path
    if given.operation is not None:
        found = {operation.name: operation for operation in ruleset.operations}.get(given.operation)
        if found is None:
            raise CaseError(f"no pack of the rules has an operation {given.operation!r}")
        method = method or found.method
        path = path or "/" + "/".join("x" if part is None else part for part in found.path.segments)
        path += "/" if given.path is None and found.path.slash else ""
    if path is None:
        raise CaseError("a request needs an `operation` or a `path`")
    if given.query:
        pairs = [(name, value) for name, values in given.query.items() for value in listed(values)]
        path += ("&" if path.partition("?")[2] else "" if path.endswith("?") else "?") + urlencode(pairs)
    return method or "GET", path


def write_request(given: GivenRequest) -> tuple[Headers, bytes | None]:
    """Write the headers and the body of a request, as they would be sent."""
    headers, content = write_content(given, "request")
    if given.cookies:
        headers.add(b"Cookie", "; ".join(f"{name}={value}" for name, value in given.cookies.items()).encode())
    return headers, content


def make_response(given: GivenUpstream, limits: Limits, kind: type[Response] = Response) -> Response:
    """Make an answer of the auth service."""
    headers, content = write_content(given, "response")
    return kind(given.status, headers, content, limits=limits, reason=given.reason)


def make_answer(given: GivenLookup) -> Answer:
    """Make the answer to a lookup."""
    headers, content = write_content(given, "response", coded=False)
    lines = tuple((name.decode("latin-1"), value.decode()) for name, _, value in headers.lines)
    return Answer(given.status, lines, content or b"")


def write_content(
    given: Content, side: Literal["request", "response"], *, coded: bool = True
) -> tuple[Headers, bytes | None]:
    """Write the headers and the body of a message; a body that is written as a value is coded as its headers say."""
    content: bytes | None = None
    kind: str | None = None
    if "json_" in given.model_fields_set:
        content, kind = msgspec.json.encode(plain(given.json_)), "application/json"
    elif given.form is not None:
        content, kind = urlencode(given.form).encode(), "application/x-www-form-urlencoded"
    elif given.text is not None:
        content, kind = given.text.encode(), "text/plain; charset=utf-8"
    elif given.body is not None:
        content = given.body.encode()
    elif given.base64 is not None:
        content = base64.b64decode(given.base64)
    lines = [(name, text) for name, values in given.headers.items() if values is not None for text in listed(values)]
    headers = Headers.of(lines, side=side)
    if kind is not None and b"content-type" not in headers:
        headers.add(b"Content-Type", kind.encode())
    coding = (headers.text(b"content-encoding") or "").lower()
    if coded and content and given.body is None and given.base64 is None and coding in codings.CODINGS:
        content = codings.encode(content, coding)
    return headers, content
