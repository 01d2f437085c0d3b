"""Rules that wait: effects performed outside, their time and failure, and what both connections do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from proxy.edge.options import Deadlines
from proxy.engine.effects import Effect, StoreGet
from proxy.engine.errors import EffectFailed, Unreadable
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits
from proxy.engine.ruleset import Rule, Ruleset, Step
from tests.gateways import Start
from tests.wire import eventually, ok

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def asks(x: Exchange) -> Generator[Effect, Any, None]:
    first = yield StoreGet("one")
    second = yield StoreGet("two")
    message = x.request if x.response is None else x.response
    message.headers.set(b"X-Stored", first + second)


def waiting_rule(phase: str, **more: Any) -> Rule:
    steps = (Step(asks, "test", "asks"),)
    return Rule("asks", 0, before=steps, **more) if phase == "before" else Rule("asks", 0, after=steps, **more)


async def answer_with_key(effect: Effect, _: Exchange) -> bytes:
    await asyncio.sleep(0)
    assert isinstance(effect, StoreGet)
    return effect.key.encode()


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("size", [0, 2, 500_000])
async def test_a_rule_that_waits_goes_on_with_what_it_asked_for(phase: str, size: int, start: Start) -> None:
    proxied = await start(waiting_rule(phase), perform=answer_with_key)
    proxied.upstream.answer = ok(b"y" * size)
    wire = await proxied.client()
    for _ in range(2):
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        answer = await wire.message()
        assert answer.body == b"y" * size
        request = proxied.upstream.messages[-1]
        assert request.body == b"x" * size
        assert (request if phase == "before" else answer).get("x-stored") == b"onetwo"


async def test_pipelined_requests_that_wait_are_answered_in_order(start: Start) -> None:
    proxied = await start(waiting_rule("before"), perform=answer_with_key)
    wire = await proxied.client()
    await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))
    for _ in range(20):
        assert (await wire.message()).status == 200
    assert [m.target for m in proxied.upstream.messages] == [b"/%d" % n for n in range(20)]


@pytest.mark.parametrize(
    ("failure", "status"), [(EffectFailed("the store is down"), 503), (TimeoutError(), 504), (RuntimeError("x"), 503)]
)
@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_effect_that_fails_fails_the_rule(phase: str, failure: Exception, status: int, start: Start) -> None:
    async def fail(_: Effect, __: Exchange) -> None:
        raise failure

    proxied = await start(waiting_rule(phase), perform=fail)
    answer = await proxied.ask(GET)
    assert answer.status == status
    assert len(proxied.upstream.messages) == (0 if phase == "before" else 1)


async def test_an_effect_that_outlasts_the_rules_time_is_a_504(start: Start) -> None:
    cancelled = asyncio.Event()

    async def forever(_: Effect, __: Exchange) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    proxied = await start(waiting_rule("before", timeout=0.05), perform=forever)
    assert (await proxied.ask(GET)).status == 504
    assert cancelled.is_set()


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_client_that_leaves_ends_the_waiting(phase: str, start: Start) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(_: Effect, __: Exchange) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    proxied = await start(waiting_rule(phase), perform=forever)
    wire = await proxied.client()
    await wire.send(GET)
    await asyncio.wait_for(begun.wait(), 5)
    wire.reset()
    await asyncio.wait_for(cancelled.wait(), 5)
    assert (await proxied.record()).hung_up
    await eventually(lambda: not proxied.gateway.connections)


async def test_an_exchange_keeps_its_rules_when_they_are_swapped_under_it(start: Start) -> None:
    gate = asyncio.Event()

    async def wait(effect: Effect, _: Exchange) -> bytes:
        await gate.wait()
        return b"old"

    proxied = await start(waiting_rule("after"), perform=wait)
    wire = await proxied.client()
    await wire.send(GET)
    await proxied.upstream.begun()
    proxied.gateway.ruleset = Ruleset()
    gate.set()
    assert (await wire.message()).get("x-stored") == b"oldold"
    await wire.send(GET)
    assert (await wire.message()).get("x-stored") is None


async def test_a_request_that_the_rules_cannot_read_is_refused_in_the_dialect(start: Start) -> None:
    def unreadable(_: object) -> bool:
        raise Unreadable("request", "the query has 'a' more than once")

    proxied = await start(Rule("m", 0, predicate=unreadable), dialect="kibo")
    answer = await proxied.ask(GET)
    assert answer.status == 400
    assert b"VALIDATION_ERROR" in answer.body
    assert answer.get("x-vol-correlation") is not None
    assert proxied.upstream.wires == []
    assert proxied.records[0][1].error == "the query has 'a' more than once"


async def test_a_predicate_that_breaks_is_a_500_and_the_worker_lives(start: Start) -> None:
    def broken(_: object) -> bool:
        raise ZeroDivisionError

    proxied = await start(Rule("m", 0, predicate=broken, methods=frozenset({"GET"})))
    assert (await proxied.ask(GET)).status == 500
    assert (await proxied.ask(GET.replace(b"GET", b"DELETE"))).status == 200


async def test_a_fault_of_the_proxy_behind_the_upstreams_answer_is_a_500_and_the_worker_lives(start: Start) -> None:
    def broken(status: int) -> bool:
        raise ZeroDivisionError(f"test-only-secret {status}")

    rule = Rule("m", 0, after=(Step(lambda _: None, "test", "step"),), statuses=broken)
    proxied = await start(rule)
    answer = await proxied.ask(GET)
    assert answer.status == 500
    assert b"test-only-secret" not in answer.body
    error = proxied.records[0][1].error
    assert error == "a fault of the proxy: ZeroDivisionError"
    proxied.records.clear()
    proxied.gateway.ruleset = Ruleset()
    assert (await proxied.ask(GET)).status == 200


class Held:
    """Performs effects that a test lets go, and counts them."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def perform(self, effect: Effect, exchange: Exchange) -> bytes:
        self.asked += 1
        await self.go.wait()
        return await answer_with_key(effect, exchange)


@pytest.mark.parametrize("then", ["more than may be kept", "the end of the connection"])
async def test_rules_on_a_refusal_that_wait_run_once_whatever_comes_meanwhile(then: str, start: Start) -> None:
    held = Held()
    rule = waiting_rule("after", needs_request=True, origins=frozenset({"proxy"}))
    proxied = await start(rule, perform=held.perform, limits=Limits(body=1_000))
    wire = await proxied.client()
    chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    await eventually(lambda: held.asked)
    (connection,) = proxied.gateway.connections
    if then == "the end of the connection":
        wire.writer.write_eof()
        await eventually(lambda: connection.ended)
    else:
        await wire.send(chunk * 100)
        await eventually(lambda: not connection.transport.is_reading())
    held.go.set()
    answer = await wire.message()
    assert (answer.status, answer.get("x-stored")) == (413, b"onetwo")
    assert await wire.rest() == b""
    assert held.asked == 2
    assert not proxied.upstream.messages


async def test_rules_on_a_refusal_that_outlast_the_exchange_are_left_out(start: Start) -> None:
    held = Held()
    proxied = await start(
        waiting_rule("after", needs_request=True, origins=frozenset({"proxy"})),
        perform=held.perform,
        limits=Limits(body=1_000),
        deadlines=Deadlines(total=0.3),
    )
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n")
    answer = await wire.message()
    assert (answer.status, answer.get("x-stored")) == (504, None)
    assert (await proxied.record()).error == "the exchange took too long"
    assert held.asked == 1
