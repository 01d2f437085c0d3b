"""What a case expects against what came of it. Every difference is a line of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ...engine import codings
from ...engine.cookies import SET_COOKIE, SetCookie
from ...engine.effects import Lookup
from ...engine.errors import EvaluationError, Unreadable
from ...engine.exchange import Exchange
from ...engine.message import Headers, Message, Request, Response
from .content import (
    Expectation,
    Expected,
    ExpectedCookie,
    ExpectedLocation,
    ExpectedLookup,
    ExpectedRequest,
    ExpectedResponse,
    ExpectedRules,
    listed,
)
from .expressions import location
from .findings import Finding, Fix, Loc, differences, show

# A body that a test compares is no larger than this once decoded.
_DECODED = 1 << 26

_ATTRIBUTES = {"max_age": "Max-Age", "domain": "Domain", "path": "Path", "same_site": "SameSite"}
_FLAGS = {"secure": "Secure", "http_only": "HttpOnly"}


def compare(
    expect: Expectation,
    exchange: Exchange,
    forwarded: Request | None,
    answer: Response | None,
    calls: Sequence[Lookup],
) -> list[Finding]:
    """Say what differs; `forwarded` is None when the auth service was not called, `calls` are those of others."""
    findings: list[Finding] = []
    if expect.upstream == "not called":
        if forwarded is not None:
            findings.append(Finding("upstream: the request was forwarded, and should not have been"))
    elif expect.upstream is not None:
        if forwarded is None:
            status = answer.status if answer is not None else "no answer"
            told = Finding(f"upstream: the request was not forwarded ({status}: {_why(exchange)})")
            told.fix = Fix(("upstream",), "not called")
            findings.append(told)
        else:
            findings += _compare_request(expect.upstream, forwarded)
    if expect.response is not None and answer is not None:
        findings += _compare_response(expect.response, answer, exchange)
    if expect.lookups is not None:
        findings += _compare_lookups(expect.lookups, calls, exchange)
    if expect.rules is not None:
        findings += _compare_rules(expect.rules, exchange)
    if expect.log is not None:
        findings += _compare_log(expect.log, exchange)
    return findings


def _why(exchange: Exchange) -> str:
    verdict = exchange.verdict
    return f"{verdict.rule or 'the proxy'}: {verdict.cause or verdict.reason or verdict.action or 'no reason given'}"


def _compare_request(expected: ExpectedRequest, request: Request) -> Iterator[Finding]:
    if expected.method is not None and request.method != expected.method:
        yield _differs(("upstream", "method"), expected.method, request.method)
    if expected.path is not None and request.path != expected.path:
        yield _differs(("upstream", "path"), expected.path, request.path)
    if expected.query is not None:
        got: dict[str, list[str]] = {}
        for name, value in parse_qsl(request.query or "", keep_blank_values=True):
            got.setdefault(name, []).append(value)
        wanted = {name: listed(value) for name, value in expected.query.items()}
        if got != wanted:
            fix = {name: values[0] if len(values) == 1 else values for name, values in got.items()}
            yield _differs(("upstream", "query"), wanted, got, fix)
    for name, cookie in expected.cookies.items():
        have = request.cookies.all(name)
        if have != ([] if cookie is None else [cookie]):
            yield Finding(f"upstream.cookies.{name}: expected {cookie!r}, got {have!r}")
    yield from _compare_message(("upstream",), expected, request, f"{request.method} {request.url}\n", None)


def _compare_response(expected: ExpectedResponse, answer: Response, exchange: Exchange) -> Iterator[Finding]:
    if expected.status is not None and answer.status != expected.status:
        why = f" ({_why(exchange)})" if exchange.verdict.by != "upstream" else ""
        yield _differs(("response", "status"), expected.status, f"{answer.status}{why}", answer.status)
    if expected.reason is not None and answer.reason != expected.reason:
        yield _differs(("response", "reason"), repr(expected.reason), repr(answer.reason), answer.reason)
    for name, cookie in expected.cookies.items():
        yield from _compare_cookie(name, cookie, answer)
    if expected.location is not None:
        yield from _compare_location(expected.location, answer)
    own = exchange.correlation if answer.origin != "upstream" else None
    yield from _compare_message(("response",), expected, answer, f"{answer.status} {answer.reason}\n", own)


def _compare_location(expected: ExpectedLocation, answer: Response) -> Iterator[Finding]:
    try:
        url, query = location(answer)
    except EvaluationError as error:
        yield Finding(f"response.location: {error.cause}")
        return
    if expected.url is not None and url != expected.url:
        yield _differs(("response", "location", "url"), expected.url, url)
    for name, value in expected.query.items():
        if query.get(name) != value:
            have = query.get(name)
            yield _differs(("response", "location", "query", name), repr(value), repr(have), have)


def _compare_lookups(
    expected: Sequence[ExpectedLookup], calls: Sequence[Lookup], exchange: Exchange
) -> Iterator[Finding]:
    if len(expected) != len(calls):
        made = ", ".join(f"{call.method} {call.url}" for call in calls) or "none"
        yield Finding(f"lookups: expected {len(expected)}, got {made}")
        return
    for index, (one, call) in enumerate(zip(expected, calls, strict=True)):
        where: Loc = ("lookups", index)
        for name, wanted, got in (("method", one.method, call.method), ("url", one.url, call.url)):
            if wanted is not None and got != wanted:
                yield _differs((*where, name), wanted, got)
        message = Request(
            call.method, call.url, None, Headers.of(call.headers), call.body, limits=exchange.request.limits
        )
        yield from _compare_message(where, one, message, f"{call.method} {call.url}\n", None)


def _compare_cookie(name: str, expected: str | ExpectedCookie | None, answer: Response) -> Iterator[Finding]:
    where = f"response.cookies.{name}"
    lines = [SetCookie.parse(line[2]) for line in answer.headers.lines if line[0] == SET_COOKIE]
    found = [cookie for cookie in lines if cookie.name == name.encode()]
    if expected is None:
        if found:
            yield Finding(f"{where}: expected none, got {found[0].dump().decode('utf-8', 'replace')!r}")
        return
    if len(found) != 1:
        yield Finding(f"{where}: expected one, got {len(found)}")
        return
    cookie, shown = found[0], found[0].dump().decode("utf-8", "replace")
    value = expected if isinstance(expected, str) else expected.value
    if value is not None and cookie.value != value.encode():
        yield Finding(f"{where}: expected the value {value!r}, got {shown!r}")
    if isinstance(expected, str):
        return
    for key, attribute in _FLAGS.items():
        flag = getattr(expected, key)
        if flag is not None and (cookie.get(attribute) is not None) is not flag:
            yield Finding(f"{where}.{key}: expected {str(flag).lower()}, got {shown!r}")
    for key, attribute in _ATTRIBUTES.items():
        if key not in expected.model_fields_set:
            continue
        wanted, got = getattr(expected, key), cookie.get(attribute)
        text = got.decode("utf-8", "replace") if got is not None else None
        same = text == wanted if wanted is None or text is None else text.lower() == str(wanted).lower()
        if not same:
            yield Finding(f"{where}.{key}: expected {wanted!r}, got {shown!r}")


def _compare_rules(expected: ExpectedRules, exchange: Exchange) -> Iterator[Finding]:
    if expected.ran is not None and exchange.ran != expected.ran:
        yield _differs(("rules", "ran"), expected.ran, exchange.ran, list(exchange.ran))
    if "denied_by" in expected.model_fields_set:
        denied = denied_by(exchange)
        if denied != expected.denied_by:
            yield _differs(("rules", "denied_by"), expected.denied_by, denied, denied)


def denied_by(exchange: Exchange) -> str | None:
    """Name the rule that refused an exchange."""
    return exchange.verdict.rule if exchange.verdict.denies else None


def _compare_log(expected: list[str], exchange: Exchange) -> Iterator[Finding]:
    lines = [
        f"{note.kind} {note.rule}: {note.message} {json.dumps(note.fields, default=str)}" for note in exchange.notes
    ]
    for text in expected:
        if not any(text in line for line in lines):
            yield Finding(f"log: no line has {text!r} in {lines}")


def decoded(message: Message) -> bytes:
    """Undo the body's coding; one that is not what it says it is stays as it came."""
    coding = (message.headers.text(b"content-encoding") or "").lower()
    content = message.content or b""
    if content and coding in codings.CODINGS:
        with contextlib.suppress(Unreadable):
            return codings.decode(content, coding, _DECODED, message.side)
    return content


def _compare_message(
    where: Loc, expected: Expected, message: Message, head: str, correlation: str | None
) -> Iterator[Finding]:
    for name, values in expected.headers.items():
        got = [value.decode("utf-8", "replace") for value in message.headers.values(name.lower().encode())]
        wanted = [] if values is None else listed(values)
        if got != wanted and not (len(wanted) == 1 and ", ".join(got) == wanted[0]):
            fix = None if not got else got[0] if len(got) == 1 else got
            yield _differs((*where, "headers", name), wanted, got, fix)
    content = decoded(message)
    if "json_" in expected.model_fields_set:
        yield from _compare_json((*where, "json"), expected.json_, content, correlation)
    if expected.form is not None:
        form = dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
        if form != expected.form:
            yield _differs((*where, "form"), expected.form, form, form)
    for key, text in (("text", expected.text), ("raw", expected.raw)):
        if text is not None and content != text.encode():
            got_text = content.decode("utf-8", "replace")
            yield _differs((*where, key), repr(text), repr(got_text), got_text)
    lines = "".join(f"{n.decode('latin-1')}: {v.decode('utf-8', 'replace')}\n" for _, n, v in message.headers.lines)
    everything = head + lines + content.decode("utf-8", "replace")
    for text in expected.absent:
        if text in everything:
            yield Finding(f"{show(where)}.absent: {text!r} stands in the message")


def without(value: Any, text: str | None) -> Any:
    """Leave out members that hold the correlation id, which only the run knows."""
    if isinstance(value, Mapping):
        return {
            key: without(item, text)
            for key, item in value.items()
            if text is None or not (isinstance(item, str) and text in item)
        }
    if isinstance(value, list):
        return [without(item, text) for item in value]
    return value


def _compare_json(where: Loc, wanted: Any, content: bytes, correlation: str | None) -> Iterator[Finding]:
    try:
        got = without(msgspec.json.decode(content), correlation)
    except msgspec.DecodeError:
        yield Finding(f"{show(where)}: the body is not JSON: {content[:200].decode('utf-8', 'replace')!r}")
        return
    yield from differences(where, wanted, got, Fix(where, got))


_SHOWN = object()


def _differs(loc: Loc, wanted: Any, got: Any, value: Any = _SHOWN) -> Finding:
    """Say that a value differs; `value` is what would be expected, where it is not what is shown."""
    return Finding.differs(show(loc), str(wanted), str(got), Fix(loc, got if value is _SHOWN else value))
