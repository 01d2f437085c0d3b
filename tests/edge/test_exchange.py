"""Exchanges from client to upstream and back, on real sockets: what the common path does."""

from __future__ import annotations

from proxy.engine import dialects
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits, Response
from proxy.engine.ruleset import Rule, Run, Step
from tests.gateways import Start
from tests.wire import ok

BOTH_LOOPS = True
LIMITS = Limits()


def step(act: Run) -> Step:
    return Step(act, "test", "step")


def deny(x: Exchange) -> Response:
    return dialects.answer("problem", 403, correlation=x.correlation, limits=LIMITS)


async def test_a_request_and_its_answer_pass_through(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = ok(b"hello", "Content-Type: text/plain", "X-Up: 1")
    answer = await proxied.ask(b"GET /a/b?x=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n")
    assert answer.line == b"HTTP/1.1 200 OK"
    assert answer.body == b"hello"
    assert answer.get("x-up") == b"1"
    [request] = proxied.upstream.messages
    assert request.line == b"GET /a/b?x=1 HTTP/1.1"
    assert request.get("host") == b"auth.internal:8443"
    assert request.get("accept") == b"*/*"
    assert request.get("x-correlation-id") == answer.get("x-correlation-id")


async def test_before_and_after_rules_edit_both_messages(start: Start) -> None:
    def before(x: Exchange) -> None:
        x.request.headers.set(b"X-Site", b"21074")
        x.request.document.set("site", "9") if hasattr(x.request.document, "set") else None

    def after(x: Exchange) -> None:
        assert x.response is not None
        assert x.response.document.get(("token",)) == "abc"
        x.response.headers.set(b"Authorization", b"Bearer abc")

    proxied = await start(
        Rule("edit", 0, before=(step(before),), after=(step(after),), needs_request=True, needs_response=True)
    )
    proxied.upstream.answer = ok(b'{"token":"abc"}', "Content-Type: application/json")
    answer = await proxied.ask(
        b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 8\r\n\r\nuser=bob"
    )
    assert answer.status == 200
    assert answer.get("authorization") == b"Bearer abc"
    [request] = proxied.upstream.messages
    assert request.get("x-site") == b"21074"
    assert request.body == b"user=bob&site=9"


async def test_a_denied_request_reaches_no_upstream_and_keeps_the_connection(start: Start) -> None:
    proxied = await start(Rule("deny", 0, before=(step(deny),), methods=frozenset({"POST"})))
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.message()).status == 403
    assert (await wire.message()).status == 200
    assert [m.target for m in proxied.upstream.messages] == [b"/next"]
