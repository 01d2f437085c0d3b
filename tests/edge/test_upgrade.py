"""Tunnels: only after the upstream's 101, in both directions, under back-pressure, to the last byte."""

from __future__ import annotations

import asyncio

import pytest

from proxy.edge.options import Deadlines
from proxy.engine import dialects
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits, Response
from proxy.engine.ruleset import Rule, Step
from tests.gateways import Proxied, Start
from tests.wire import Wire, eventually, ok

BOTH_LOOPS = True
ASK = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: dGVzdA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


def switching(proxied: Proxied, first: bytes = b"") -> None:
    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await wire.send(SWITCH + first)
        while data := await wire.reader.read(65_536):
            await wire.send(data.upper())

    proxied.upstream.answering = answering


async def test_a_tunnel_carries_bytes_both_ways_until_both_sides_have_ended(start: Start) -> None:
    proxied = await start()
    switching(proxied, b"hello")
    wire = await proxied.client()
    await wire.send(ASK)
    answer = await wire.message(bodyless=True)
    assert answer.status == 101
    assert (answer.get("upgrade"), answer.get("connection")) == (b"websocket", b"Upgrade")
    assert answer.get("sec-websocket-accept") == b"x"
    [request] = proxied.upstream.messages
    assert (request.get("upgrade"), request.get("connection")) == (b"websocket", b"Upgrade")
    assert request.get("sec-websocket-key") == b"dGVzdA=="
    assert await wire.exactly(5) == b"hello"
    await wire.send(b"GET /not-http HTTP/1.1\r\n\r\n")
    assert await wire.exactly(26) == b"GET /NOT-HTTP HTTP/1.1\r\n\r\n"
    wire.end()
    assert await wire.rest() == b""
    facts = await proxied.record()
    assert (facts.status, facts.received, facts.sent) == (101, 26, 31)
    await eventually(lambda: proxied.gateway.pool.open == 0 and not proxied.gateway.connections)


async def test_a_tunnel_holds_a_sender_that_is_faster_than_the_reader(start: Start) -> None:
    proxied = await start()
    switching(proxied)
    wire = await proxied.client()
    await wire.send(ASK)
    await wire.message(bodyless=True)
    size = 8 << 20

    async def upload() -> None:
        for _ in range(size >> 16):
            await wire.send(b"x" * 65_536)
        wire.end()

    _, data = await asyncio.gather(upload(), wire.rest())
    assert len(data) == size
    assert data.count(b"X") == size


async def test_an_upstream_that_declines_is_heard_and_the_connection_ends(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = ok(b"no", status="400 Bad Request")
    wire = await proxied.client()
    await wire.send(ASK)
    answer = await wire.message()
    assert (answer.status, answer.body, answer.get("connection")) == (400, b"no", b"close")
    assert await wire.rest() == b""


async def test_bytes_that_come_before_the_switch_are_refused_and_never_carried(start: Start) -> None:
    proxied = await start()

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(ASK)
    await proxied.upstream.begun()
    await wire.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.message()).status == 400
    await wire.rest()
    assert b"second" not in proxied.upstream.bytes


@pytest.mark.parametrize(
    "answer", [SWITCH.replace(b"websocket", b"h2c"), SWITCH.replace(b"Upgrade: websocket\r\n", b"")]
)
async def test_a_switch_to_something_else_is_a_502(answer: bytes, start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = answer
    assert (await proxied.ask(ASK)).status == 502


async def test_a_rule_can_deny_an_upgrade_on_its_way_back(start: Start) -> None:
    def deny(x: Exchange) -> Response:
        return dialects.answer("problem", 403, correlation=x.correlation, limits=Limits())

    proxied = await start(Rule("deny", 0, after=(Step(deny, "test", "deny"),)))
    switching(proxied)
    wire = await proxied.client()
    await wire.send(ASK)
    assert (await wire.message()).status == 403
    await wire.rest()
    await eventually(lambda: proxied.gateway.pool.open == 0)


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_tunnel_ends_when_one_side_is_lost(side: str, start: Start) -> None:
    proxied = await start()
    switching(proxied)
    wire = await proxied.client()
    await wire.send(ASK)
    await wire.message(bodyless=True)
    (wire if side == "client" else proxied.upstream.wires[0]).reset()
    await proxied.record()
    await eventually(lambda: proxied.gateway.pool.open == 0 and not proxied.gateway.connections)


async def test_a_tunnel_without_traffic_is_closed(start: Start) -> None:
    proxied = await start(deadlines=Deadlines(tunnel=0.2))
    switching(proxied)
    wire = await proxied.client()
    await wire.send(ASK)
    await wire.message(bodyless=True)
    assert await wire.rest() == b""
    assert (await proxied.record()).status == 101
