"""An upstream that misbehaves: nothing broken is delivered, nothing is sent twice, nobody gets another's answer."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from proxy.edge.options import Deadlines
from proxy.engine.message import Limits
from proxy.engine.ruleset import Rule, Step
from tests.gateways import Start
from tests.wire import LOOPBACK, Wire, eventually, ok

BOTH_LOOPS = True
GET = b"GET /cb?code=1 HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"

BROKEN = {
    "space before colon": HEAD + b"Content-Length : 1\r\n\r\nX",
    "folded line": HEAD + b"A: b\r\n c\r\nContent-Length: 1\r\n\r\nX",
    "control in a value": HEAD + b"A: \x01\r\nContent-Length: 1\r\n\r\nX",
    "delete in a value": HEAD + b"A: \x7f\r\nContent-Length: 1\r\n\r\nX",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 1\n\nX",
    "CL and TE": HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nX\r\n0\r\n\r\n",
    "CL twice": HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nX",
    "CL -1": HEAD + b"Content-Length: -1\r\n\r\nX",
    "CL +1": HEAD + b"Content-Length: +1\r\n\r\nX",
    "non-ASCII reason": b"HTTP/1.1 200 \xe9\r\nContent-Length: 1\r\n\r\nX",
    "status 999": b"HTTP/1.1 999 X\r\nContent-Length: 1\r\n\r\nX",
    "status 099": b"HTTP/1.1 099 X\r\nContent-Length: 1\r\n\r\nX",
    "TE gzip": HEAD + b"Transfer-Encoding: gzip\r\n\r\nX",
    "TE xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\nX",
    "TE in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nX\r\n0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nX",
    "two Locations": b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
    "two Content-Types": HEAD + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n\r\nX",
    "too many headers": HEAD + b"A: b\r\n" * 129 + b"Content-Length: 1\r\n\r\nX",
    "1 MB of headers": HEAD + b"".join(b"A%d: %b\r\n" % (n, b"x" * 8000) for n in range(128)) + b"\r\n",
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "endless 1xx": b"HTTP/1.1 102 Processing\r\n\r\n" * 50,
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "cut in the head": None,
}


@pytest.mark.parametrize("drip", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_a_502_and_its_connection_is_dropped(name: str, drip: bool, start: Start) -> None:
    proxied = await start()
    data = BROKEN[name]

    async def answering(wire: Wire, number: int) -> None:
        if number:
            await proxied.upstream.serve(wire)
        await proxied.upstream.take(wire)
        if data is None:
            await wire.send(HEAD + b"A: b")
            return
        if drip and len(data) < 10_000:
            await wire.drip(data)
        else:
            await wire.send(data)
        await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(GET)
    answer = await wire.message()
    assert answer.status == 502
    assert b"X" not in answer.body
    assert answer.get("cache-control") == b"no-store"
    # The client's connection lives on, the upstream's does not.
    await wire.send(GET)
    assert (await wire.message()).status == 200
    assert len(proxied.upstream.wires) == 2
    assert len(proxied.upstream.messages) == 2


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


async def test_a_silent_upstream_is_a_504_within_the_deadline(start: Start) -> None:
    proxied = await start(first_byte=0.2)

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await wire.rest()

    proxied.upstream.answering = answering
    begun = asyncio.get_running_loop().time()
    assert (await proxied.ask(GET)).status == 504
    assert asyncio.get_running_loop().time() - begun < 2


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


CUT = {
    "within Content-Length": HEAD + b"Content-Length: 100\r\n\r\nabc",
    "within a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\nabc",
    "before the last chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "bad second chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
}


@pytest.mark.parametrize("how", ["end", "reset", "stall"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", CUT)
async def test_an_answer_that_breaks_after_its_head_never_looks_complete(
    name: str, version: str, how: str, start: Start
) -> None:
    proxied = await start(stall=0.2)
    relayed = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await wire.send(CUT[name])
        await asyncio.wait_for(relayed.wait(), 5)
        if how == "reset":
            wire.reset()
        elif how == "stall":
            await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    if name == "bad second chunk":
        relayed.set()
        # All of it in one read: nothing was written yet, or only a part that was cut off.
        data = await wire.rest()
        assert b"502" in data.split(b"\r\n")[0] or not data.endswith(b"0\r\n\r\n")
        return
    head = await wire.until(b"\r\n\r\n")
    assert b"200" in head
    relayed.set()
    reset = False
    rest = b""
    try:
        while part := await asyncio.wait_for(wire.reader.read(1000), 5):
            rest += part
    except ConnectionResetError:
        reset = True
    assert reset, "the client must see that the answer was cut"
    assert not rest.endswith(b"0\r\n\r\n")
    facts = await proxied.record()
    assert facts.status == 200
    assert facts.error


async def test_an_answer_that_drips_is_cut_at_the_total_deadline(start: Start) -> None:
    proxied = await start(deadlines=Deadlines(total=0.4))

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await wire.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        while True:
            await wire.send(b"x")
            await asyncio.sleep(0.02)

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(GET)
    await wire.rest()
    assert (await proxied.record()).error == "the exchange took too long"
    assert len(wire.received) < 500


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_a_body_where_none_may_be_is_not_delivered(answer: bytes, start: Start) -> None:
    proxied = await start()

    async def answering(wire: Wire, number: int) -> None:
        await proxied.upstream.take(wire)
        await wire.send(answer if number == 0 else ok(b"next"))
        await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(GET)
    first = await wire.message()
    assert first.status in (204, 304)
    assert first.get("transfer-encoding") is None
    await wire.send(GET)
    assert (await wire.message()).body == b"next"
    assert b"hello" not in wire.received


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
