"""Header fields across the proxy: what ends at this hop, who a request is from, what a client cannot say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.head import write_request, write_response
from proxy.edge.options import Trust
from proxy.edge.refusal import Refusal
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.ruleset import Rule, Step
from tests.gateways import Proxied, Start
from tests.wire import Message, ok

LIMITS = Limits()
TRUSTING = Trust(proxies=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")))


async def forwarded(proxied: Proxied, *headers: str, status: int = 200) -> Message | None:
    lines = "".join(f"{line}\r\n" for line in headers)
    answer = await proxied.ask(f"GET / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n".encode())
    assert answer.status == status
    return proxied.upstream.messages[-1] if proxied.upstream.messages else None


async def arrived(proxied: Proxied, *headers: str) -> Message:
    message = await forwarded(proxied, *headers)
    assert message is not None
    return message


async def test_fields_of_a_hop_are_not_forwarded(start: Start) -> None:
    proxied = await start()
    names = ("Keep-Alive", "TE", "Trailer", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection", "Mine")
    request = await arrived(proxied, "Connection: keep-alive, Mine", *(f"{name}: x" for name in names))
    for name in ("Connection", *names):
        assert request.get(name) is None


@pytest.mark.parametrize(
    "name", ["Authorization", "Cookie", "Content-Type", "X-Auth-User", "User-Agent", "X-Forwarded-For", "Host", "Via"]
)
async def test_a_client_cannot_strip_what_says_who_it_is(name: str, start: Start) -> None:
    proxied = await start()
    lines = [] if name in ("Host", "Via", "X-Forwarded-For") else [f"{name}: test-only"]
    request = await arrived(proxied, f"Connection: {name}, close", *lines)
    assert len(request.all(name)) == 1


async def test_a_connection_field_cannot_take_away_the_length(start: Start) -> None:
    proxied = await start()
    answer = await proxied.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert answer.status == 200
    assert proxied.upstream.messages[0].body == b"abc"


async def test_fields_of_the_upstreams_hop_do_not_reach_the_client(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = ok(
        b"ok", "Connection: keep-alive, Mine", "Mine: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: x",
        "Set-Cookie: a=1", "Set-Cookie: b=2", "Upgrade: h2c",
    )  # fmt: skip
    answer = await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for name in ("Connection", "Mine", "Keep-Alive", "Proxy-Authenticate", "Upgrade"):
        assert answer.get(name) is None
    assert answer.all("set-cookie") == [b"a=1", b"b=2"]


async def test_an_upstream_cannot_strip_its_own_cookies(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = ok(b"ok", "Connection: Set-Cookie", "Set-Cookie: a=1")
    assert (await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).get("set-cookie") == b"a=1"


async def test_the_connection_says_whose_request_it_is(start: Start) -> None:
    proxied = await start()
    request = await arrived(proxied)
    assert request.get("x-forwarded-for") == b"127.0.0.1"
    assert request.get("x-forwarded-host") == b"shop.example"
    assert request.get("x-forwarded-proto") == b"http"
    assert request.get("x-forwarded-port") == str(proxied.port).encode()
    assert request.get("forwarded") == b'for=127.0.0.1;host="shop.example";proto=http'
    assert request.get("via") == b"1.1 vestibule"


CLAIMS = (
    "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1",
    "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4", "X-Original-URL: /admin", "X-Rewrite-URL: /admin",
    "X-Forwarded-Uri: /x", "X-Forwarded-Prefix: /x",
    "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE",
    "True-Client-IP: 1.2.3.4",
)  # fmt: skip


async def test_what_a_client_says_of_itself_is_dropped_before_rules_see_it(start: Start) -> None:
    seen: list[tuple[str, tuple[str, ...], str, str, list[bytes]]] = []

    def look(x: Exchange) -> None:
        r = x.request
        seen.append((r.ip, r.ips, r.scheme, r.host, r.headers.values(b"x-forwarded-for")))

    proxied = await start(Rule("look", 0, before=(Step(look, "test", "look"),)))
    request = await arrived(proxied, *CLAIMS)
    assert seen == [("127.0.0.1", ("127.0.0.1",), "http", "shop.example", [b"127.0.0.1"])]
    for bad in (b"1.2.3.4", b"evil", b"DELETE", b"admin"):
        assert bad not in request.head
    assert request.get("x-forwarded-proto") == b"http"


async def test_a_trusted_proxy_is_believed_up_to_the_first_stranger(start: Start) -> None:
    seen: list[tuple[str, tuple[str, ...], str, str]] = []

    def look(x: Exchange) -> None:
        seen.append((x.request.ip, x.request.ips, x.request.scheme, x.request.host))

    proxied = await start(Rule("look", 0, before=(Step(look, "test", "look"),)), trust=TRUSTING)
    request = await arrived(
        proxied, "X-Forwarded-For: 6.6.6.6, 203.0.113.9", "X-Forwarded-For: 10.0.0.2", "X-Forwarded-Proto: https",
        "X-Forwarded-Host: www.shop.example:8443", "X-Forwarded-Port: 8443", "X-Real-IP: 203.0.113.9",
    )  # fmt: skip
    assert seen == [("203.0.113.9", ("203.0.113.9", "10.0.0.2", "127.0.0.1"), "https", "www.shop.example:8443")]
    assert request.get("x-forwarded-for") == b"203.0.113.9, 10.0.0.2, 127.0.0.1"
    assert request.get("x-forwarded-proto") == b"https"
    assert request.get("x-forwarded-port") == b"8443"
    assert request.get("forwarded") == (
        b'for=203.0.113.9;host="www.shop.example:8443";proto=https, for=10.0.0.2, for=127.0.0.1'
    )
    assert request.get("x-real-ip") == b"203.0.113.9"


@pytest.mark.parametrize(
    ("said", "ip"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "127.0.0.1"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
    ],
)
async def test_addresses_in_a_chain_are_read_or_end_it(said: str, ip: str, start: Start) -> None:
    proxied = await start(trust=TRUSTING)
    await arrived(proxied, f"X-Forwarded-For: {said}")
    exchange = proxied.records[0][0]
    assert exchange is not None
    assert exchange.request.ip == ip
    assert proxied.records[0][1].client == ip


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        (("Forwarded: for=203.0.113.9;proto=https;host=a.example",), ("203.0.113.9", "https", "a.example")),
        (("Forwarded: For=\"[2001:db8::1]:4711\" ; Proto=HTTPS",), ("2001:db8::1", "https", "shop.example")),
        # What stands before the first stranger is that stranger's word.
        (("Forwarded: for=6.6.6.6;host=evil, for=203.0.113.9;host=a", "Forwarded: for=10.0.0.2;host=b"),
         ("203.0.113.9", "http", "a")),
        (("Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.8"), ("203.0.113.8", "http", "shop.example")),
        (("Forwarded: for=203.0.113.9", "X-Forwarded-Proto: https"), ("127.0.0.1", "https", "shop.example")),
        *(
            ((f"Forwarded: {hop}",), ("127.0.0.1", "http", "shop.example"))
            for hop in ("", "for=unknown", "for=_hidden;host=evil", "host=evil", "for=1.2.3.4;for=5.6.7.8;host=evil",
                        'for="1.2.3.4;host=evil', "for=1.2.3.4 host=evil", "for=1.2.3.4;;host=evil")
        ),
    ],
)  # fmt: skip
async def test_a_trusted_proxys_forwarded_is_read_where_it_says_nothing_else(
    said: tuple[str, ...], origin: tuple[str, str, str], start: Start
) -> None:
    proxied = await start(trust=TRUSTING)
    await arrived(proxied, *said)
    exchange = proxied.records[0][0]
    assert exchange is not None
    assert (exchange.request.ip, exchange.request.scheme, exchange.request.host) == origin


async def test_a_forwarded_host_that_is_none_is_refused(start: Start) -> None:
    proxied = await start(trust=TRUSTING)
    assert await forwarded(proxied, 'Forwarded: for=1.2.3.4;host="a/b"', status=400) is None


@pytest.mark.parametrize("line", ["X-Forwarded-Host: a, b", "X-Forwarded-Host: a/b", "X-Forwarded-Proto: http, https"])
async def test_a_trusted_proxy_that_says_two_things_is_refused(line: str, start: Start) -> None:
    proxied = await start(trust=TRUSTING)
    assert await forwarded(proxied, line, status=400) is None


async def test_via_is_extended_and_our_own_in_it_is_a_loop(start: Start) -> None:
    proxied = await start(trust=Trust(pseudonym="edge-1"))
    request = await arrived(proxied, "Via: 1.1 cdn, 2 edge-10")
    assert request.all("via") == [b"1.1 cdn, 2 edge-10, 1.1 edge-1"]
    await forwarded(proxied, "Via: 1.1 cdn, 1.1 edge-1 (x)", status=508)
    assert len(proxied.upstream.messages) == 1


async def test_the_base_path_of_the_upstream_comes_first(start: Start) -> None:
    proxied = await start(base="/auth/v1", authority="auth.example")
    await proxied.ask(b"GET /a/../b?c HTTP/1.1\r\nHost: a\r\n\r\n")
    [request] = proxied.upstream.messages
    assert request.target == b"/auth/v1/b?c"
    assert request.get("host") == b"auth.example"


async def test_a_rule_sees_no_path_under_the_reserved_prefix_forwarded(start: Start) -> None:
    proxied = await start(dialect="kibo")
    for path in (
        "/.vestibule",
        "/.vestibule/",
        "/.vestibule/continue/x",
        "/x/../.vestibule/a",
        "/%2evestibule/a",
    ):
        answer = await proxied.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.status == 404
        assert b"ITEM_NOT_FOUND" in answer.body
    assert (await proxied.ask(b"GET /.vestibules HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    assert len(proxied.upstream.messages) == 1


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: x=1", b"a\rb", b"a\nb", b"a\0b"])
@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_rule_that_makes_a_header_with_a_line_break_gets_a_500_and_nothing_leaves(
    value: bytes, phase: str, start: Start
) -> None:
    def split(x: Exchange) -> None:
        (x.request if x.response is None else x.response).headers.set(b"X-Bad", value)

    steps = (Step(split, "test", "split"),)
    proxied = await start(Rule("split", 0, before=steps) if phase == "before" else Rule("split", 0, after=steps))
    wire = await proxied.client()
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await wire.message()
    assert answer.status == 500
    assert b"Set-Cookie" not in wire.received
    exchange, _ = proxied.records[0]
    assert exchange is not None
    assert answer.get("x-correlation-id") == exchange.correlation.encode()
    assert exchange.verdict.by == "proxy"
    assert b"X-Bad" not in proxied.upstream.bytes
    assert len(proxied.records) == 1


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4))
def test_no_written_head_holds_a_line_that_is_not_ours(pairs: list[tuple[bytes, bytes]]) -> None:
    lines = [(name.lower(), name, value) for name, value in pairs]
    request = Request("GET", "/", None, Headers(lines), limits=LIMITS)
    response = Response(200, Headers(lines, side="response"), limits=LIMITS)
    for direction in ("request", "response"):
        try:
            if direction == "request":
                head = write_request(request, base="", authority=b"a", via=b"1.1 v", framing=b"")
            else:
                head = write_response(response, framing=b"Content-Length: 0", connection=b"")
        except Refusal:
            continue
        body = head[: -len(b"\r\n\r\n")]
        assert head.endswith(b"\r\n\r\n")
        assert b"\r\n\r\n" not in body
        assert len(body.split(b"\r\n")) <= 3 + len(pairs)
        assert body.replace(b"\r\n", b"").count(b"\n") == 0
        assert b"\r" not in body.replace(b"\r\n", b"")
        assert b"\0" not in body
