"""What a new version of the parsers must re-prove, the scanner beside them, and a second opinion on what we send."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h11
import pytest
import trustme
from aiohttp import http_parser
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge import parsers
from proxy.edge.framing import Chunks, HeadEnd
from proxy.edge.options import Bounds
from proxy.edge.refusal import Refusal
from tests.gateways import Start
from tests.wire import ok

_http_parser: Any = importlib.import_module("aiohttp._http_parser")


async def test_the_response_parser_is_strict_after_the_proof() -> None:
    loop = asyncio.get_running_loop()
    parsers.prove(loop)
    parser = parsers.response_parser(loop, Bounds(), body=True)
    with pytest.raises(BadHttpMessage):
        parser.feed_data(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n")


def test_the_authorities_that_aiohttp_does_not_read_are_there_for_our_own_calls(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    code = (
        "import os\n"
        "import proxy.edge.parsers\n"
        "from aiohttp import connector\n"
        "from proxy.services.outbound import make_context\n"
        "ours, aiohttps = make_context(), connector._SSL_CONTEXT_VERIFIED\n"
        "print(len(ours.get_ca_certs()), len(aiohttps.get_ca_certs()), os.environ['SSL_CERT_FILE'])\n"
        "print('SSL_CERT_DIR' in os.environ)\n"
    )
    given = {name: value for name, value in os.environ.items() if name != "SSL_CERT_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**given, "SSL_CERT_FILE": str(tmp_path / "ca.pem")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["1", "0", str(tmp_path / "ca.pem"), "False"]


async def test_a_lenient_parser_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lenient:
        DEBUG = False
        HttpRequestParser = http_parser.HttpRequestParser

    def lenient(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(_http_parser, "DEBUG", False)
        return http_parser.HttpResponseParser(*args, **more)

    Lenient.HttpResponseParser = staticmethod(lenient)  # type: ignore[attr-defined]
    monkeypatch.setattr(parsers, "_parsers", Lenient)
    with pytest.raises(parsers.UnsafeParser, match="bare line feeds"):
        parsers.prove(asyncio.get_running_loop())


def test_the_pure_python_parsers_stop_the_start() -> None:
    code = "import asyncio\nfrom proxy.edge import parsers\nparsers.prove(asyncio.new_event_loop())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "UnsafeParser" in done.stderr


@given(
    st.binary(max_size=60).filter(lambda data: b"\r\n\r\n" not in data + b"\r\n\r"), st.binary(max_size=20), st.data()
)
def test_the_end_of_a_head_is_found_over_any_cuts(head: bytes, rest: bytes, data: st.DataObject) -> None:
    whole = head + b"\r\n\r\n" + rest
    search = HeadEnd()
    at = 0
    while at < len(whole):
        size = data.draw(st.integers(1, len(whole) - at))
        end = search.find(whole[at : at + size])
        if end >= 0:
            assert at + end == len(head) + 4
            assert search.size == len(head) + 4
            return
        at += size
    raise AssertionError("the end was not found")


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=6), st.binary(max_size=10), st.data())
def test_the_end_of_a_chunked_body_is_found_over_any_cuts(parts: list[bytes], rest: bytes, data: st.DataObject) -> None:
    extension = data.draw(st.sampled_from([b"", b";a", b"; a=b"]))
    trailer = data.draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n" + trailer + b"\r\n"
    whole = body + rest
    scanner = Chunks(1000)
    at = 0
    while not scanner.done:
        size = data.draw(st.integers(1, max(1, len(whole) - at)))
        at += scanner.take(whole[at : at + size])
    assert at == len(body)
    assert scanner.announced == sum(map(len, parts))


@given(st.binary(max_size=80))
def test_any_bytes_end_refuse_or_continue_a_chunked_body(data: bytes) -> None:
    scanner = Chunks(100)
    try:
        taken = scanner.take(data)
    except Refusal as refusal:
        outcome = refusal.status in (400, 413)
    else:
        outcome = 0 <= taken <= len(data) and (scanner.done or taken == len(data))
    assert outcome


def events(data: bytes, role: type[h11.CLIENT | h11.SERVER], method: bytes = b"GET") -> list[object]:
    """Read bytes as h11 does; it raises for what it does not take."""
    connection = h11.Connection(role)
    if role is h11.CLIENT:
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    found: list[object] = []
    while (event := connection.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
        found.append(event)
        if isinstance(event, h11.ConnectionClosed):
            break
    return found


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /x?y HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        b"DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: X-Y, close\r\nX-Y: 1\r\n\r\n",
    ],
)
@pytest.mark.parametrize(
    "answer",
    [
        ok(b"hello", "Set-Cookie: a=1", "Set-Cookie: b=2"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: /a\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["length", "chunked", "none", "1.0"],
)
async def test_another_implementation_reads_what_goes_out_as_one_message(
    request_bytes: bytes, answer: bytes, start: Start
) -> None:
    proxied = await start()
    proxied.upstream.answer = answer
    wire = await proxied.client()
    await wire.send(request_bytes)
    received = await wire.message()
    [sent, *parts] = events(proxied.upstream.bytes, h11.SERVER)
    assert isinstance(sent, h11.Request)
    assert [type(part) for part in parts if not isinstance(part, h11.Data)] == [h11.EndOfMessage]
    body = b"".join(part.data for part in parts if isinstance(part, h11.Data))
    assert body == (b"abc" if b"abc" in request_bytes else b"")
    [head, *parts] = events(wire.received, h11.CLIENT)
    assert isinstance(head, h11.Response)
    assert head.status_code == received.status
    assert b"".join(part.data for part in parts if isinstance(part, h11.Data)) == (
        b"" if received.status == 204 else b"hello"
    )
