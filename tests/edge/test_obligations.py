"""What an exchange owes to others is met whoever is still there: tries to settle, a call that others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from proxy.engine import obligations
from proxy.engine.effects import Effect, Lead, Publish, Reserve, Reserved, Settle, Share, StoreGet
from proxy.engine.exchange import Exchange
from proxy.engine.obligations import Reservation, Sharing
from proxy.engine.ruleset import Rule, Step
from tests.gateways import Proxied, Start
from tests.wire import Wire, eventually, ok

LOGIN = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


class Services:
    """Performs effects, keeps them in order, and holds back those that a test names."""

    def __init__(self) -> None:
        self.asked: list[Effect] = []
        self.held: type[Effect] | None = None
        self.go = asyncio.Event()

    async def perform(self, effect: Effect, _: Exchange) -> Any:
        self.asked.append(effect)
        if self.held is not None and isinstance(effect, self.held):
            await self.go.wait()
        return (
            Reserved("ticket") if isinstance(effect, Reserve) else Lead("lead") if isinstance(effect, Share) else None
        )

    @property
    def last(self) -> Effect | None:
        return self.asked[-1] if self.asked else None


@pytest.fixture
def services() -> Services:
    return Services()


def limiting() -> Rule:
    rule = Rule("limit", 0, needs_request=True)

    def reserve(x: Exchange) -> Generator[Effect, Any, None]:
        asked = Reserve("k", 5, 900.0, None, settles=True)
        found = yield asked
        one = Reservation(rule, "limit", asked, found.ticket, lambda x: x.status == 401, reads_body=False)
        obligations.of(x).reservations.append(one)

    rule.before = (Step(reserve, "limit", "limit"),)
    return rule


def sharing() -> Rule:
    rule = Rule("once", 0, needs_request=True)

    def once(x: Exchange) -> None:
        obligations.of(x).sharing = Sharing(rule, "once", "k", 30.0)

    rule.before = (Step(once, "once", "once"),)
    return rule


def settled(services: Services, *, failed: bool) -> bool:
    return services.last == Settle("k", "ticket", failed, 5, 900.0, None)


async def hang_up(proxied: Proxied, data: bytes) -> Wire:
    client = await proxied.client()
    await client.send(data)
    return client


async def test_the_call_of_a_client_that_hung_up_is_finished_and_counted(start: Start, services: Services) -> None:
    answering = asyncio.Event()

    async def answer(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        answering.set()
        await eventually(lambda: proxied.gateway.alone)
        await wire.send(ok(b"no", status="401 Unauthorized"))
        await wire.rest()

    proxied = await start(limiting(), perform=services.perform)
    proxied.upstream.answering = answer
    client = await hang_up(proxied, LOGIN)
    await answering.wait()
    client.reset()
    facts = await proxied.record()
    assert settled(services, failed=True)
    assert (facts.hung_up, facts.status) == (True, 401)
    assert proxied.gateway.busy == 0


async def test_a_client_that_hangs_up_while_its_try_is_reserved_gives_it_back_and_is_not_forwarded(
    start: Start, services: Services
) -> None:
    services.held = Reserve
    proxied = await start(limiting(), perform=services.perform)
    client = await hang_up(proxied, LOGIN)
    await eventually(lambda: services.asked)
    client.reset()
    await eventually(lambda: proxied.gateway.alone)
    services.go.set()
    await proxied.record()
    assert settled(services, failed=False)
    assert not proxied.upstream.messages


async def test_a_client_that_hangs_up_leaves_others_the_call_that_it_leads(start: Start, services: Services) -> None:
    services.held = Share
    proxied = await start(sharing(), perform=services.perform)
    client = await hang_up(proxied, LOGIN)
    await eventually(lambda: services.asked)
    client.reset()
    await eventually(lambda: proxied.gateway.alone)
    services.go.set()
    await proxied.record()
    published = services.last
    assert isinstance(published, Publish)
    assert published.value is not None
    assert obligations.unpack(published.value, proxied.gateway.limits).content == b"ok"


async def test_a_stop_waits_for_what_is_owed(start: Start, services: Services) -> None:
    services.held = Settle
    proxied = await start(limiting(), perform=services.perform)
    client = await hang_up(proxied, LOGIN)
    await eventually(lambda: isinstance(services.last, Settle))
    client.reset()
    await eventually(lambda: proxied.gateway.alone)
    proxied.gateway.drain()
    assert proxied.gateway.busy == 1
    services.go.set()
    await proxied.record()
    assert proxied.gateway.busy == 0


async def test_an_upstream_that_breaks_off_gives_the_try_back(start: Start, services: Services) -> None:
    async def answer(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        wire.reset()

    proxied = await start(limiting(), perform=services.perform)
    proxied.upstream.answering = answer
    assert (await proxied.ask(LOGIN)).status == 502
    await proxied.record()
    assert settled(services, failed=False)


async def test_the_client_hears_of_a_failure_only_when_it_counts(start: Start, services: Services) -> None:
    """Otherwise the next guess could come before the last one is counted."""
    services.held = Settle
    proxied = await start(limiting(), perform=services.perform)
    proxied.upstream.answer = ok(b"no", status="401 Unauthorized")
    client = await hang_up(proxied, LOGIN)
    await eventually(lambda: isinstance(services.last, Settle))
    assert not client.received
    assert not proxied.records
    services.go.set()
    assert (await client.message()).status == 401


async def test_a_return_with_a_long_body_is_refused_before_anything_is_asked(start: Start, services: Services) -> None:
    proxied = await start(perform=services.perform)
    head = b"POST /.vestibule/continue HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n"
    assert (await proxied.ask(head)).status == 413
    chunked = b"POST /.vestibule/continue HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await proxied.ask(chunked, b"11170\r\n" + b"a" * 70_000 + b"\r\n0\r\n\r\n")).status == 413
    assert not services.asked


async def test_a_return_is_looked_for_and_never_forwarded(start: Start, services: Services) -> None:
    proxied = await start(perform=services.perform)
    state = "A" * 43
    form = f"state={state}".encode()
    head = (
        "POST /.vestibule/continue HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form)}\r\n\r\n"
    )
    for data in (f"GET /.vestibule/continue?state={state} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), head.encode() + form):
        assert (await proxied.ask(data)).status == 401
    assert services.asked == [StoreGet(f"suspended\0{state}")] * 2
    assert not proxied.upstream.messages
