"""Requests as exact bytes, each delivered in one piece and byte by byte: the verdict must be the same.

For a refusal the upstream has received nothing, the connection ends, and no byte of the request is in answer or record.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.gateways import Start
from tests.wire import Wire

BOTH_LOOPS = True
SECRET = b"test-only-canary"


def post(*headers: str, body: bytes = b"", version: str = "1.1", target: str = "/") -> bytes:
    return request("POST", *headers, body=body, version=version, target=target)


def get(*headers: str, version: str = "1.1", target: str = "/", body: bytes = b"") -> bytes:
    return request("GET", *headers, version=version, target=target, body=body)


def request(method: str, *headers: str, version: str = "1.1", target: str = "/", body: bytes = b"") -> bytes:
    lines = "".join(f"{line}\r\n" for line in ("Host: a", *headers))
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    status: int | tuple[int, ...]


TE = "Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n"

REFUSED = [
    Case("CL and TE", post("Content-Length: 6", TE, body=b"0\r\n\r\nX"), 400),
    Case("TE and CL", post(TE, "Content-Length: 6", body=b"0\r\n\r\nX"), 400),
    Case("TE xchunked", post("Transfer-Encoding: xchunked", body=LAST), 400),
    Case("TE identity", post("Transfer-Encoding: identity"), 400),
    Case("TE chunked, identity", post("Transfer-Encoding: chunked, identity", body=LAST), 400),
    Case("TE chunked;q=1", post("Transfer-Encoding: chunked;q=1", body=LAST), 400),
    Case("TE quoted", post('Transfer-Encoding: "chunked"', body=LAST), 400),
    Case("TE vertical tab", post("Transfer-Encoding: \x0bchunked", body=LAST), 400),
    Case("two TE", post(TE, TE, body=LAST), 400),
    Case("empty coding before chunked", post("Transfer-Encoding: ,chunked", body=LAST), 400),
    Case("gzip, chunked", post("Transfer-Encoding: gzip, chunked", body=LAST), 501),
    Case("HTTP/1.0 with TE", post(TE, version="1.0", body=LAST), 400),
    Case("underscore TE", post("Transfer_Encoding: chunked", "Content-Length: 1", body=b"X"), 400),
    Case("underscore name", get("X_Auth_User: root"), 400),
    Case("half underscore name", get("X-Auth_User: root"), 400),
    *(
        Case(f"CL {value!r}", post(f"Content-Length: {value}", body=b"aaaaa"), 400)
        for value in ("+5", "1_0", "0x5", "-1", "", "5, 5", "5 6", "18446744073709551616")
    ),
    Case("CL twice", post("Content-Length: 5", "Content-Length: 5", body=b"aaaaa"), 400),
    Case("CL two values", post("Content-Length: 5", "Content-Length: 6", body=b"aaaaa"), 400),
    Case("CL 2^63", post("Content-Length: 9223372036854775808"), 413),
    Case("CL 2^64-1", post("Content-Length: 18446744073709551615"), 413),
    Case("huge chunk", post(TE, body=b"ffffffffffffffff\r\nX"), 413),
    Case("chunk extension of 100 kB", post(TE, body=b"1;" + b"e" * 100_000 + b"\r\nX\r\n0\r\n\r\n"), 400),
    *(
        Case(f"chunk size {line!r}", post(TE, body=line + b"a\r\n0\r\n\r\n"), 400)
        for line in (
            b"0x1\r\n",
            b"+1\r\n",
            b"00000000000000001\r\n",
            b"1\n",
            b"1;a\rb\r\n",
            b"1;a\nb\r\n",
            b"\r\n",
            b"g\r\n",
        )
    ),
    Case("no line end after chunk", post(TE, body=b"1\r\naX0\r\n\r\n"), 400),
    Case("trailer CL", post(TE, body=b"0\r\nContent-Length: 1\r\n\r\n"), 400),
    Case("trailer TE", post(TE, body=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
    Case("200 trailers", post(TE, body=b"0\r\n" + b"A: b\r\n" * 200 + b"\r\n"), 400),
    Case("bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    Case("bare LF in a header", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    Case("bare CR", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    Case("folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    Case("space before colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    *(Case(f"value with {bad!r}", get(f"X: a{bad}b"), 400) for bad in ("\x00", "\x01", "\x7f")),
    Case("empty name", get(": b"), 400),
    Case("indented first header", b"GET / HTTP/1.1\r\n\tContent-Length: 1\r\nHost: a\r\n\r\n", 400),
    Case("secret with a control", get(f"Authorization: Bearer {SECRET.decode()}\x01"), 400),
    Case("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    Case("two Hosts", get("Host: b"), 400),
    *(
        Case(f"Host {host!r}", f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 400)
        for host in ("", "a, b", "good@evil", "a/b?c#d", "a:x", "a:99999", "a b", "[::1", "[1:2", "[zz::1]", "a:80:80")
    ),
    Case("HTTP/1.2", get(version="1.2"), 400),
    Case("lower-case http", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    Case("HTTP/0.9 named", get(version="0.9"), 505),
    Case("HTTP/2.0", get(version="2.0"), 505),
    Case("HTTP/0.9 by omission", b"GET /\r\n\r\n", 505),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505)),
    Case("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    Case("target without slash", get(target="a"), 400),
    Case("target *", get(target="*"), 400),
    Case("OPTIONS *", request("OPTIONS", target="*"), 400),
    Case("raw UTF-8 in target", get(target="/\xc3\xa9"), 400),
    Case("raw control in target", get(target="/\x01"), 400),
    Case("tab in target", get(target="/\t"), 400),
    Case("fragment", get(target="/public#/../admin"), 400),
    Case("double slash", get(target="//admin"), 400),
    Case("unknown method", request("BREW"), 400),
    Case("lower-case method", request("get"), 400),
    Case("absolute form", get(target="http://evil/x"), 400),
    Case("absolute form of the same host", get(target="http://a/x"), 400),
    Case("ftp", get(target="ftp://evil/x"), 400),
    Case(
        "CONNECT", b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 405
    ),
    Case("TRACE", request("TRACE"), 405),
    Case("upgrade to foo", get("Connection: Upgrade", "Upgrade: foo") + get(target="/second"), 400),
    Case("upgrade to h2c", get("Connection: Upgrade", "Upgrade: h2c") + get(target="/second"), 400),
    Case("upgrade without Connection", get("Upgrade: websocket"), 400),
    Case("two upgrades", get("Connection: Upgrade", "Upgrade: websocket, foo"), 400),
    Case("upgrade with POST", post("Connection: Upgrade", "Upgrade: websocket"), 400),
    Case("upgrade with a body", get("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 1", body=b"x"), 400),
    Case("upgrade and a second request", get("Connection: Upgrade", "Upgrade: websocket") + get(target="/second"), 400),
    Case("old WebSocket", get("Sec-WebSocket-Key1: x"), 400),
    Case("two Authorizations", get("Authorization: Bearer a", "authorization: Bearer b"), 400),
    Case("two Content-Types", post("Content-Type: a/b", "content-type: a/b"), 400),
    Case("Expect foo", post("Expect: foo", "Content-Length: 1", body=b"x"), 417),
    Case("129 headers", get(*(f"X-{n}: 1" for n in range(128))), 431),
    Case("long value", get("X: " + "a" * 32_800), 431),
    Case("long name", get("X" * 32_800 + ": a"), 431),
    Case("large head", get(*(f"X-{n}: {'a' * 8_000}" for n in range(5))), 431),
    Case("long target", get(target="/" + "a" * 8_200), 414),
    Case("garbage", SECRET + b"\r\n\r\n", 400),
]

ACCEPTED = [
    Case("plain", get(target="/x/../y?a=//"), 200),
    Case("CL 010", post("Content-Length: 010", body=b"0123456789"), 200),
    Case("CL with a space after it", post("Content-Length: 5 ", body=b"abcde"), 200),
    Case("chunked", post(TE, body=b"3;a=b\r\nabc\r\n2\r\nde\r\n" + LAST), 200),
    Case("chunk size with zeros", post(TE, body=b"0000000000000003\r\nabc\r\n" + LAST), 200),
    Case("trailer", post(TE, body=b"1\r\nX\r\n0\r\nAuthorization: Bearer x\r\nHost: evil\r\n\r\n"), 200),
    Case("empty lines before", b"\r\n\r\n" + get(), 200),
    Case("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", 200),
    Case("obs-text", get("X: \xe9"), 200),
    Case("Connection names Authorization", get("Connection: close, Authorization", "Authorization: Bearer t"), 200),
    Case("IPv6 Host", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
]

ways = pytest.mark.parametrize("drip", [False, True], ids=["whole", "bytewise"])


async def deliver(wire: Wire, case: Case, drip: bool) -> None:
    # What is over a limit is refused before all of it was sent; the rest may meet a closed connection.
    try:
        if drip and len(case.data) < 50_000:
            await wire.drip(case.data)
        else:
            await wire.send(case.data)
    except ConnectionError:
        pass


@ways
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
async def test_what_http_forbids_is_refused_and_nothing_of_it_goes_on(case: Case, drip: bool, start: Start) -> None:
    proxied = await start()
    wire = await proxied.client()
    await deliver(wire, case, drip)
    answer = await wire.message(bodyless=True)
    expected = case.status if isinstance(case.status, tuple) else (case.status,)
    assert answer.status in expected, answer.head
    assert answer.get("connection") == b"close"
    assert answer.get("server") is None
    await wire.rest()
    assert wire.received.count(b"HTTP/1.1 ") == 1
    if drip and TE.encode() in case.data:
        # A body that is broken later than its head has already begun to stream; it never becomes a whole request.
        assert proxied.upstream.messages == []
    else:
        assert proxied.upstream.bytes == b""
    assert SECRET not in wire.received
    assert b"evil" not in wire.received
    await proxied.record()
    assert len(proxied.records) == 1
    exchange, facts = proxied.records[0]
    assert SECRET.decode() not in repr(facts)
    correlation = facts.correlation if exchange is None else exchange.correlation
    assert answer.get("x-correlation-id") == str(correlation).encode()
    # The next client is served.
    assert (await proxied.ask(get())).status == 200


@ways
@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
async def test_what_http_allows_arrives_once_and_in_one_form(case: Case, drip: bool, start: Start) -> None:
    proxied = await start()
    wire = await proxied.client()
    await deliver(wire, case, drip)
    answer = await wire.message()
    assert (answer.status, answer.body) == (case.status, b"ok")
    [request] = proxied.upstream.messages
    assert len(request.all("host")) == 1
    assert len(request.all("content-length")) + len(request.all("transfer-encoding")) <= 1
    if b"Authorization: Bearer t" in case.data:
        assert request.get("authorization") == b"Bearer t"
    if case.name == "trailer":
        assert request.body == b"X"
        assert b"Bearer x" not in proxied.upstream.bytes
        assert b"evil" not in proxied.upstream.bytes
    if case.name == "CL 010":
        assert request.get("content-length") == b"10"
    if case.name == "chunked":
        assert request.body == b"abcde"


async def test_sixty_four_pipelined_requests_then_garbage_are_answered_in_order_then_refused(start: Start) -> None:
    proxied = await start()

    async def name_it(wire: Wire, _: int) -> None:
        while True:
            message = await proxied.upstream.take(wire)
            body = message.target
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    proxied.upstream.answering = name_it
    wire = await proxied.client()
    await wire.send(b"".join(get(target=f"/{n}") for n in range(64)) + b"\x00garbage\r\n\r\n")
    for n in range(64):
        assert (await wire.message()).body == f"/{n}".encode()
    assert (await wire.message()).status == 400
    await wire.rest()
    assert len(proxied.upstream.messages) == 64


async def test_a_bad_chunk_that_comes_late_stops_the_upload_and_is_refused(start: Start) -> None:
    proxied = await start()
    wire = await proxied.client()
    await wire.send(post(TE, body=b"3\r\nabc\r\n"))
    await proxied.upstream.begun()
    await wire.send(b"zz\r\n")
    assert (await wire.message()).status == 400
    await wire.rest()
    assert proxied.upstream.messages == []
