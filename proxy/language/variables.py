"""What expressions may read: `request`, `response`, `context`, `configuration`, `now`, `rule`, `operation`, variables.

Every member says how it is read from an exchange, so that the compiler can check names and types and a body is opened
no further than an expression asks.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..engine.errors import EvaluationError, Side, Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Headers, Message, Request
from .cel import BOOL, DYN, INT, STRING, TIMESTAMP, Reader, Timestamp, Type, Variable, list_of, map_of

ROOTS = ("request", "response", "context", "configuration", "now", "rule", "operation")

_TEXTS = map_of(STRING, STRING)


class HeaderMap(Mapping[str, str]):
    """Headers as an expression sees them: names in any case, several lines joined by a comma."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        text = self._headers.text(name.lower().encode())
        if text is None:
            raise EvaluationError(f"there is no header {name!r}", self._headers.side)
        return text

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower().encode() in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(line[0].decode("latin-1") for line in self._headers.lines))

    def __len__(self) -> int:
        return len({line[0] for line in self._headers.lines})


def _no_deeper(path: tuple[str | int, ...]) -> None:
    if len(path) != 1 or not isinstance(path[0], str):
        raise EvaluationError("a text has no members")


def _headers(message: Callable[[Exchange], Message], label: str) -> Variable:
    def open_header(path: tuple[str | int, ...]) -> Reader:
        _no_deeper(path)
        name = str(path[0])
        key = name.lower().encode()

        def get(x: Exchange) -> str:
            headers = message(x).headers
            text = headers.text(key)
            if text is None:
                raise EvaluationError(f"there is no header {name!r}", headers.side)
            return text

        return Reader(get=get, has=lambda x: key in message(x).headers)

    return Variable(
        type=_TEXTS, read=lambda x: HeaderMap(message(x).headers), open=open_header, footprint=f"{label}.headers"
    )


def _pairs(name: str) -> Variable:
    """Read `request.query` or `request.cookies`."""

    def pairs(x: Exchange) -> Any:
        return x.request.parameters if name == "query" else x.request.cookies

    def open_pair(path: tuple[str | int, ...]) -> Reader:
        _no_deeper(path)
        wanted = str(path[0])
        return Reader(get=lambda x: pairs(x).get(wanted), has=lambda x: pairs(x).has(wanted))

    return Variable(type=_TEXTS, read=lambda x: pairs(x).values(), open=open_pair, footprint=f"request.{name}")


def _body(message: Callable[[Exchange], Message], label: str) -> Variable:
    def open_path(path: tuple[str | int, ...]) -> Reader:
        if label == "request":
            return Reader(get=lambda x: x.request.document.get(path), has=lambda x: x.request.document.has(path))
        return Reader(get=lambda x: x.answer().document.get(path), has=lambda x: x.answer().document.has(path))

    return Variable(
        type=DYN,
        read=lambda x: message(x).document.value(),
        has=lambda x: message(x).has_body,
        open=open_path,
        footprint=f"{label}.body",
    )


# A token or credentials are one word; a tab within would be a second spelling of a space.
_visible = re.compile("[!-~]+").fullmatch


def _authorization(x: Exchange, scheme: str) -> str | None:
    """Return what follows a scheme in the one Authorization header, or None when it is not exactly that."""
    values = x.request.headers.values(b"authorization")
    if len(values) != 1:
        return None
    try:
        words = values[0].decode("ascii").split(" ")
    except UnicodeDecodeError:
        return None
    return words[1] if len(words) == 2 and words[0].lower() == scheme and _visible(words[1]) else None


def _bearer(x: Exchange) -> str:
    token = _authorization(x, "bearer")
    if token is None:
        raise EvaluationError("there is no bearer token", "request")
    return token


def _basic(x: Exchange) -> tuple[str, str] | None:
    """Decode Basic credentials (RFC 7617)."""
    encoded = _authorization(x, "basic")
    if encoded is None:
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


def _basic_username(x: Exchange) -> str:
    credentials = _basic(x)
    if credentials is None:
        raise EvaluationError("there are no basic credentials", "request")
    return credentials[0]


def _request(x: Exchange) -> Request:
    return x.request


def request() -> Variable:
    members = {
        "method": Variable(type=STRING, attribute="request.method", footprint="request.method"),
        "url": Variable(type=STRING, attribute="request.url", footprint="request.url"),
        "path": Variable(type=STRING, attribute="request.path", footprint="request.path"),
        "href": Variable(
            type=STRING,
            read=lambda x: f"{x.request.scheme}://{x.request.host}{x.request.url}",
            footprint="request.href",
        ),
        "secure": Variable(type=BOOL, read=lambda x: x.request.scheme == "https", footprint="request.secure"),
        "ip": Variable(type=STRING, attribute="request.ip", footprint="request.ip"),
        "ips": Variable(type=list_of(STRING), read=lambda x: list(x.request.ips), footprint="request.ips"),
        "params": Variable(type=_TEXTS, attribute="params", footprint="request.params"),
        "query": _pairs("query"),
        "query_all": Variable(
            type=map_of(STRING, list_of(STRING)),
            read=lambda x: {name: x.request.parameters.all(name) for name in x.request.parameters.names()},
            footprint="request.query",
        ),
        "headers": _headers(_request, "request"),
        "cookies": _pairs("cookies"),
        "body": _body(_request, "request"),
        "basic": Variable(
            members={"username": Variable(type=STRING, read=_basic_username, footprint="request.basic")},
            has=lambda x: _basic(x) is not None,
        ),
        "bearer": Variable(
            type=STRING,
            read=_bearer,
            has=lambda x: _authorization(x, "bearer") is not None,
            footprint="request.bearer",
        ),
    }
    return Variable(members=members)


def _response(x: Exchange) -> Message:
    return x.answer()


def _content_type(x: Exchange) -> str:
    return (x.answer().headers.text(b"content-type") or "").partition(";")[0].strip().lower()


def _content_length(x: Exchange) -> int:
    response = x.answer()
    if response.content is not None:
        return len(response.content)
    length = response.headers.text(b"content-length") or ""
    if not length.isascii() or not length.isdigit():
        raise EvaluationError("the length of the response is not known", "response")
    return int(length)


def response() -> Variable:
    members = {
        "status": Variable(type=INT, attribute="response.status", footprint="response.status"),
        "message": Variable(type=STRING, read=lambda x: x.answer().reason or "", footprint="response.message"),
        "length": Variable(type=INT, read=_content_length, footprint="response.length"),
        "type": Variable(type=STRING, read=_content_type, footprint="response.type"),
        "headers": _headers(_response, "response"),
        "cookies": Variable(type=_TEXTS, read=_set_cookies, footprint="response.headers"),
        "body": _body(_response, "response"),
        "origin": Variable(type=STRING, attribute="response.origin", footprint="response.origin"),
    }
    return Variable(members=members)


def _set_cookies(x: Exchange) -> dict[str, str]:
    """Return the names and values of the response's Set-Cookie lines; a name set twice is Unreadable."""
    found: dict[str, str] = {}
    for line in x.answer().headers.values(b"set-cookie"):
        try:
            name, _, value = line.decode("utf-8").partition(";")[0].partition("=")
        except UnicodeDecodeError:
            raise Unreadable("response", "a Set-Cookie header is not UTF-8") from None
        if name.strip() in found:
            raise Unreadable("response", f"the cookie {name.strip()!r} is set more than once")
        found[name.strip()] = value.strip()
    return found


def type_of(value: Any) -> Type:
    """Give the static type of a constant."""
    match value:
        case bool():
            return BOOL
        case int():
            return INT
        case str():
            return STRING
        case list():
            kinds = {type_of(item) for item in value}
            return list_of(kinds.pop() if len(kinds) == 1 else DYN)
        case dict():
            kinds = {type_of(item) for item in value.values()}
            return map_of(STRING, kinds.pop() if len(kinds) == 1 else DYN)
        case _:
            return DYN


def configuration(data: Mapping[str, Any]) -> Variable:
    whole = dict(data)
    return Variable(read=lambda _: whole, members={name: constant(value) for name, value in data.items()})


def constant(value: Any) -> Variable:
    return Variable(type=type_of(value), read=lambda _: value)


def variable(name: str, type: Type) -> Variable:
    return Variable(type=type, read=lambda x: x.variable(name))


def standing(rule_name: str, data: Mapping[str, Any], context: Mapping[str, Variable]) -> dict[str, Variable]:
    """Give the roots of a rule, the response left out."""

    def operation_name(x: Exchange) -> str:
        if x.operation is None:
            raise EvaluationError("the request is none of the operations", "request")
        return x.operation.name

    return {
        "request": request(),
        "context": Variable(members=context),
        "configuration": configuration(data),
        "now": Variable(type=TIMESTAMP, read=lambda x: Timestamp.from_seconds(x.now)),
        "rule": Variable(members={"name": Variable(type=STRING, read=lambda _: rule_name)}),
        "operation": Variable(
            members={"name": Variable(type=STRING, read=operation_name, has=lambda x: x.operation is not None)}
        ),
    }


def blame(footprints: set[str]) -> Side | None:
    """Say which message is at fault when an expression that read these has no value."""
    if any(footprint.startswith("response") for footprint in footprints):
        return "response"
    if any(footprint.startswith(("request", "context")) for footprint in footprints):
        return "request"
    return None
