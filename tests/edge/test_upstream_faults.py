"""An upstream that misbehaves: nothing broken is delivered, nothing is sent twice, nobody gets another's answer."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from proxy.engine.message import Limits
from proxy.engine.ruleset import Rule, Step
from tests.gateways import Start
from tests.wire import LOOPBACK, Wire, eventually, ok

BOTH_LOOPS = True
GET = b"GET /cb?code=1 HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("late", [False, True], ids=["same read", "late"])
async def test_a_surplus_answer_is_never_delivered(late: bool, start: Start) -> None:
    proxied = await start()
    poisoned = asyncio.Event()

    async def answering(wire: Wire, number: int) -> None:
        await proxied.upstream.take(wire)
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
        if number == 0:
            await wire.send(ok(b"first") + (b"" if late else poison))
            if late:
                await asyncio.wait_for(poisoned.wait(), 5)
                await wire.send(poison)
            await wire.rest()
        else:
            await wire.send(ok(b"second"))

    proxied.upstream.answering = answering
    assert (await proxied.ask(GET)).body == b"first"
    poisoned.set()
    if late:
        await eventually(lambda: proxied.gateway.pool.open == 0)
    assert (await proxied.ask(GET)).body == b"second"


async def test_a_surplus_answer_is_not_the_answer_of_one_who_waits_for_the_connection(start: Start) -> None:
    proxied = await start(connections=1)
    gate = asyncio.Event()

    async def answering(wire: Wire, number: int) -> None:
        await proxied.upstream.take(wire)
        await asyncio.wait_for(gate.wait(), 5)
        await wire.send(ok(b"first") + ok(b"POISON") if number == 0 else ok(b"second"))
        await wire.rest()

    proxied.upstream.answering = answering
    first, second = await proxied.client(), await proxied.client()
    await first.send(GET)
    await proxied.upstream.begun()
    await second.send(GET)
    await eventually(lambda: proxied.gateway.pool.waiting)
    gate.set()
    assert (await first.message()).body == b"first"
    assert (await second.message()).body == b"second"


async def test_a_surplus_answer_that_waits_in_the_socket_is_found_before_the_connection_is_used_again(
    start: Start,
) -> None:
    proxied = await start()
    wires: list[Wire] = []

    async def answering(wire: Wire, number: int) -> None:
        wires.append(wire)
        await proxied.upstream.take(wire)
        await wire.send(ok(b"first" if number == 0 else b"second"))
        await wire.rest()

    proxied.upstream.answering = answering
    assert (await proxied.ask(GET)).body == b"first"
    [connection] = proxied.gateway.pool._idle
    # The loop gets no chance to read what now arrives, as when it is busy.
    os.write(wires[0].writer.get_extra_info("socket").fileno(), ok(b"POISON"))
    assert not connection.clean()
    assert (await proxied.ask(GET)).body == b"second"


@pytest.mark.parametrize("how", ["reset", "end"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_request_is_never_sent_twice(method: str, how: str, start: Start) -> None:
    proxied = await start()

    async def answering(wire: Wire, number: int) -> None:
        await proxied.upstream.take(wire)
        await wire.send(ok())
        await proxied.upstream.take(wire)
        if how == "reset":
            wire.reset()

    proxied.upstream.answering = answering
    assert (await proxied.ask(GET)).status == 200
    answer = await proxied.ask(f"{method} /once HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".encode())
    assert answer.status == 502
    assert [m.target for m in proxied.upstream.messages] == [b"/cb?code=1", b"/once"]
    assert len(proxied.upstream.wires) == 1


async def test_an_upstream_that_refuses_connections_is_a_502(start: Start) -> None:
    with socket.socket() as unused:
        unused.bind((LOOPBACK, 0))
        proxied = await start(port=unused.getsockname()[1])
        answer = await proxied.ask(GET)
    assert answer.status == 502
    assert (await proxied.record()).error == "the upstream cannot be reached"


async def test_a_name_that_does_not_resolve_is_a_502(start: Start) -> None:
    proxied = await start(host="no-such-host.invalid")
    assert (await proxied.ask(GET)).status == 502


async def test_a_dead_first_address_does_not_hide_a_second_one(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxied = await start()
    with socket.socket() as unused:
        unused.bind((LOOPBACK, 0))
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", unused.getsockname())
        live = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, proxied.upstream.port))

        class Names:
            def __getattr__(self, name: str) -> object:
                return getattr(asyncio.get_running_loop(), name)

            async def getaddrinfo(self, *_: object, **__: object) -> list[object]:
                return [dead, live]

        proxied.gateway.pool.loop = Names()  # type: ignore[assignment]
        assert (await proxied.ask(GET)).status == 200
    assert len(proxied.upstream.messages) == 1


async def test_a_backlog_that_is_full_is_a_504_within_the_connect_deadline(start: Start) -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        proxied = await start(port=listener.getsockname()[1], connect=0.3, first_byte=0.3)
        assert (await proxied.ask(GET)).status == 504
        for filler in fillers:
            filler.close()


async def test_more_requests_than_connections_wait_and_too_many_are_a_503(start: Start) -> None:
    proxied = await start(connections=1, pending=1)
    gate = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            await proxied.upstream.take(wire)
            await asyncio.wait_for(gate.wait(), 5)
            await wire.send(ok())

    proxied.upstream.answering = answering
    first = await proxied.client()
    await first.send(GET)
    await proxied.upstream.begun()
    second = await proxied.client()
    await second.send(GET)
    await eventually(lambda: proxied.gateway.pool.waiting)
    third = await proxied.ask(GET)
    assert third.status == 503
    assert third.get("retry-after") == b"1"
    gate.set()
    assert (await first.message()).status == 200
    assert (await second.message()).status == 200
    assert len(proxied.upstream.wires) == 1


async def test_a_client_that_gave_up_leaves_the_queue(start: Start) -> None:
    proxied = await start(connections=1)
    gate = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            await proxied.upstream.take(wire)
            await asyncio.wait_for(gate.wait(), 5)
            await wire.send(ok())

    proxied.upstream.answering = answering
    first = await proxied.client()
    await first.send(GET)
    await proxied.upstream.begun()
    second = await proxied.client()
    await second.send(b"GET /given-up HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: proxied.gateway.pool.waiting)
    second.reset()
    facts = await proxied.record()
    assert facts.hung_up
    assert proxied.gateway.pool.waiting == 0
    gate.set()
    assert (await first.message()).status == 200
    assert [m.target for m in proxied.upstream.messages] == [b"/cb?code=1"]


async def test_an_idle_connection_is_closed_before_the_upstream_would(start: Start) -> None:
    proxied = await start(idle=0.1)
    assert (await proxied.ask(GET)).status == 200
    assert proxied.gateway.pool.idle == 1
    await eventually(lambda: proxied.gateway.pool.open == 0)
    assert proxied.gateway.pool.idle == 0
    await eventually(proxied.upstream.wires[0].reader.at_eof)


async def test_connections_are_used_again(start: Start) -> None:
    proxied = await start()
    for _ in range(5):
        assert (await proxied.ask(GET)).status == 200
    assert len(proxied.upstream.wires) == 1


async def test_an_answer_of_http_1_0_ends_its_connection_unless_it_says_otherwise(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert (await proxied.ask(GET)).status == 200
    proxied.upstream.answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
    assert (await proxied.ask(GET)).status == 200
    assert (await proxied.ask(GET)).status == 200
    assert len(proxied.upstream.wires) == 2


async def test_a_body_over_the_limit_that_rules_read_is_a_502(start: Start) -> None:
    rule = Rule("read", 0, after=(Step(lambda _: None, "test", "step"),), needs_response=True)
    proxied = await start(rule, limits=Limits(body=10))
    proxied.upstream.answer = ok(b"x" * 11)
    assert (await proxied.ask(GET)).status == 502
    proxied.upstream.answer = HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"
    assert (await proxied.ask(GET)).status == 502
    proxied.upstream.answer = ok(b"x" * 10)
    assert (await proxied.ask(GET)).status == 200
