"""What is fuzzed: each takes bytes and may refuse them in the ways that it is meant to; anything else is a finding."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import h11
from aiohttp.http_exceptions import HttpProcessingError

from proxy.edge import parsers
from proxy.edge.framing import Chunks
from proxy.edge.head import read_request, read_response, write_request, write_response
from proxy.edge.options import Bounds, Trust
from proxy.edge.origin import Peer
from proxy.edge.refusal import Refusal
from proxy.engine.addresses import AddressError, read
from proxy.engine.errors import ABSORBED, CostExceeded, EvaluationError, Unreadable
from proxy.engine.json_body import JsonBody
from proxy.engine.json_nodes import ArrayNode, ObjectNode, encode
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.target import canonical
from proxy.language.cel import DYN, Environment, Variable
from proxy.language.cel import compile as compile_cel
from proxy.language.cel.problems import CelProblems
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.language.problems import Problems, render

BOUNDS = Bounds()
LIMITS = Limits()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    parsers.prove(loop)
    return loop


def request_head(data: bytes) -> None:
    """A head that passes the checks is one that another implementation reads as the same request."""
    head, end, _ = data.partition(b"\r\n\r\n")
    try:
        messages, _, _ = parsers.request_parser(_loop(), BOUNDS).feed_data(head + end)
        if not messages:
            return
        peer = Peer("192.0.2.1", "http", 8080, Trust())
        checked = read_request(messages[0][0], peer, BOUNDS, Trust())
        request = Request(checked.method, checked.path, checked.query, Headers(checked.lines), limits=LIMITS)
        framing = b"Transfer-Encoding: chunked" if checked.chunked else b"Content-Length: %d" % (checked.length or 0)
        written = write_request(request, base="", authority=b"auth.example", via=b"1.1 edge", framing=framing)
    except (HttpProcessingError, Refusal, Unreadable):
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(written)
    event = other.next_event()
    assert isinstance(event, h11.Request), "another implementation reads no request"
    assert (event.method, event.target) == (checked.method.encode(), request.url.encode())
    assert [value for name, value in event.headers if name == b"host"] == [b"auth.example"]
    assert len([name for name, _ in event.headers if name in (b"content-length", b"transfer-encoding")]) == 1


def response_head(data: bytes) -> None:
    """An answer that passes the checks is one that another implementation reads as the same answer."""
    head, end, _ = data.partition(b"\r\n\r\n")
    try:
        messages, _, _ = parsers.response_parser(_loop(), BOUNDS, body=True).feed_data(head + end)
        if not messages:
            return
        checked = read_response(messages[0][0], "GET", BOUNDS)
        if checked.status < 200:
            return
        headers = Headers(checked.lines, side="response")
        response = Response(checked.status, headers, limits=LIMITS, reason=checked.reason)
        written = write_response(response, framing=b"Content-Length: 0", connection=b"Connection: close")
    except (HttpProcessingError, Refusal):
        return
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    other.receive_data(written)
    event = other.next_event()
    assert isinstance(event, h11.Response), "another implementation reads no answer"
    assert event.status_code == checked.status
    assert [name for name, _ in event.headers].count(b"content-length") == 1


_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(data: bytes) -> None:
    """Where a chunked body ends does not depend on how it arrives, and another implementation ends it there too."""
    ends: set[object] = set()
    for step in (max(len(data), 1), 1, 7):
        found, at = Chunks(1 << 20), 0
        try:
            while at < len(data) and not found.done:
                at += found.take(data[at : at + step])
        except Refusal:
            ends.add("refused")
        else:
            ends.add(at if found.done else "open")
    assert len(ends) == 1, "it depends on how the bytes arrive"
    (end,) = ends
    if not isinstance(end, int):
        return
    # The library's parser is given exactly these bytes beside the scanner, and both must agree.
    parser = parsers.request_parser(_loop(), BOUNDS)
    parser.feed_data(_CHUNKED)
    try:
        parser.feed_data(data[:end])
    except HttpProcessingError:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(_CHUNKED + data)
    try:
        while not isinstance(event := other.next_event(), h11.EndOfMessage):
            assert event not in (h11.NEED_DATA, h11.PAUSED), "it ends sooner than another implementation says"
    except h11.RemoteProtocolError:
        return
    assert other.trailing_data[0] == data[end:], "another implementation ends it elsewhere"


def target(data: bytes) -> None:
    """A path that was taken is taken again as it is, and leads nowhere else."""
    try:
        path, query = canonical(data)
    except Unreadable:
        return
    assert canonical(path if query is None else f"{path}?{query}") == (path, query)
    assert path.startswith("/")
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))


def json_body(data: bytes) -> None:
    """What is read is what the standard library reads, strictly; an edit changes what it names and nothing else."""
    if len(data) > LIMITS.decoded:
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # open_body has refused it before.
        return
    body = JsonBody(data, "request", LIMITS.depth)
    try:
        value = body.value()
    except (Unreadable, EvaluationError):
        with contextlib.suppress(Unreadable, EvaluationError):
            _edit(data)
        return
    assert _alike(value, json.loads(data, parse_constant=_refuse, object_pairs_hook=_once)), "two readers differ"
    assert body.dump() == data
    _edit(data)


def _edit(data: bytes) -> None:
    body = JsonBody(data, "request", LIMITS.depth)
    root = body.top
    if root is None:
        return
    if isinstance(root, ObjectNode):
        root.put("fuzz", encode([1]))
    elif isinstance(root, ArrayNode):
        root.insert(0, encode([1]))
    written = body.dump()
    # What stays closed is not read, so it may not be JSON for other readers either; then both refuse.
    try:
        before = json.loads(data)
    except (ValueError, RecursionError):
        return
    after = json.loads(written)
    if isinstance(before, dict):
        assert after.pop("fuzz") == [1]
        before.pop("fuzz", None)
        assert _alike(after, before)
    else:
        assert _alike(after, [[1], *before])


def _refuse(text: str) -> Any:
    raise AssertionError(f"it took {text} for a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), "it took a key twice"
    return dict(pairs)


def _alike(one: Any, other: Any) -> bool:
    return bool(one == other) and json.dumps(one) == json.dumps(other)


_VALUES: dict[str, Any] = {
    "i": 3,
    "d": 0.5,
    "s": "a,b",
    "b": True,
    "l": [1, "x", None],
    "m": {"a": {"b": 1}},
    "n": None,
}


def _variable(name: str) -> Variable:
    return Variable(DYN, lambda x: x[name])


@cache
def _environment() -> Environment:
    return Environment({name: _variable(name) for name in _VALUES})


def cel(data: bytes) -> None:
    """An expression is refused with places in it, or gives a value or an error of its own."""
    text = data.decode("utf-8", "replace")
    try:
        program = compile_cel(text, _environment())
    except CelProblems as refused:
        places = [(problem.start, problem.end) for problem in refused.problems]
    else:
        with contextlib.suppress(EvaluationError, CostExceeded, *ABSORBED):
            program.run(_VALUES)
        return
    assert places
    assert all(0 <= start <= end <= len(text) + 1 for start, end in places)


def rules(data: bytes) -> None:
    """A rule file is compiled, or refused with problems that can be shown."""
    text = data.decode("utf-8", "replace")
    source = Source("rules.yaml", text)
    found = Problems()
    built = build([source], Options(secrets=lambda _: "test-only-" * 4, packs=lambda _: None), found)
    assert built.ruleset is not None or list(built.problems.errors)
    for problem in built.problems:
        render(problem, text)


def address(data: bytes) -> None:
    """An address that was read is ASCII, and reads the same again."""
    text = data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1")
    try:
        origin, sent = read(text)
    except AddressError:
        return
    assert sent.isascii()
    assert sent.isprintable()
    assert read(sent) == (origin, sent)


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (request_head, response_head, chunks, target, json_body, cel, rules, address)
}
