"""Bodies on their way: framing both ways, what has none, expectations, early answers, half-closed and lost clients."""

from __future__ import annotations

import asyncio

import pytest

from proxy.edge.options import Bounds, Deadlines
from proxy.engine import dialects
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Response
from proxy.engine.ruleset import Rule, Run, Step
from tests.gateways import Proxied, Start
from tests.wire import Wire, eventually, ok

BOTH_LOOPS = True
LIMITS = Limits()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"
UNTIL_END = b"HTTP/1.1 200 OK\r\n\r\nabcdefg"


def step(act: Run) -> Step:
    return Step(act, "test", "step")


def deny(x: Exchange) -> Response:
    return dialects.answer("problem", 403, correlation=x.correlation, limits=LIMITS)


def reads_both() -> Rule:
    return Rule(
        "reads",
        0,
        before=(step(lambda _: None),),
        after=(step(lambda _: None),),
        needs_request=True,
        needs_response=True,
    )


modes = pytest.mark.parametrize("reads", [False, True], ids=["streamed", "collected"])


@modes
@pytest.mark.parametrize("answer", [ok(b"abcdefg"), CHUNKED, UNTIL_END], ids=["length", "chunked", "until the end"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_every_framing_of_an_answer_arrives_whole(answer: bytes, version: str, reads: bool, start: Start) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    proxied.upstream.answer = answer
    if answer is UNTIL_END:

        async def answering(wire: Wire, _: int) -> None:
            await proxied.upstream.take(wire)
            await wire.send(answer)

        proxied.upstream.answering = answering
    received = await proxied.ask(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    assert (received.status, received.body) == (200, b"abcdefg")
    if version == "1.0":
        assert received.get("transfer-encoding") is None
    assert b"X-T" not in received.head


@modes
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000])
async def test_every_framing_of_a_request_arrives_whole(size: int, framing: str, reads: bool, start: Start) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    wire = await proxied.client()
    if framing == "length":
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size, body)
    else:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, size, 9_973):
            part = body[at : at + 9_973]
            await wire.send(b"%x\r\n%b\r\n" % (len(part), part))
        await wire.send(b"0\r\n\r\n")
    assert (await wire.message()).status == 200
    [request] = proxied.upstream.messages
    assert request.body == body
    facts = await proxied.record()
    assert (facts.received, facts.sent) == (size, 2)


async def test_many_small_answers_in_chunks_keep_their_bytes(start: Start) -> None:
    proxied = await start()
    parts = [b"x" * (n % 50 + 1) for n in range(2_000)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    proxied.upstream.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data + b"0\r\n\r\n"
    assert (await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"".join(parts)


@modes
async def test_a_head_gets_the_length_and_no_body_and_the_connection_goes_on(reads: bool, start: Start) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    proxied.upstream.answer = ok(b"0123456789")
    wire = await proxied.client()
    await wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await wire.message(bodyless=True)
    # What rules might have made of the body is not known, so no length is told then.
    assert answer.get("content-length") == (None if reads else b"10")
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.message()).body == b"0123456789"
    assert len(proxied.upstream.wires) == 1


async def test_a_denied_head_has_the_denials_length_and_no_body(start: Start) -> None:
    proxied = await start(Rule("deny", 0, before=(step(deny),), methods=frozenset({"GET"})))
    wire = await proxied.client()
    await wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await wire.message(bodyless=True)
    assert answer.status == 403
    assert int(answer.get("content-length") or b"0") > 0
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert (await wire.message()).status == 200


@modes
@pytest.mark.parametrize(
    ("answer", "length"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"0"),
        (b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", b"0"),
    ],
)
async def test_answers_without_a_body_leave_both_connections_usable(
    answer: bytes, length: bytes | None, reads: bool, start: Start
) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    proxied.upstream.answer = answer
    wire = await proxied.client()
    for _ in range(3):
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = await wire.message()
        assert received.status == int(answer.split()[1])
        assert received.get("content-length") == length
        assert received.get("transfer-encoding") is None
    assert len(proxied.upstream.wires) == 1


async def test_a_status_that_rules_turn_into_204_loses_its_body(start: Start) -> None:
    def empty(x: Exchange) -> Response:
        return Response(204, Headers(side="response"), limits=LIMITS, origin="rule")

    proxied = await start(Rule("empty", 0, after=(step(empty),)))
    wire = await proxied.client()
    for _ in range(2):
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await wire.message()
        assert (answer.status, answer.get("content-length")) == (204, None)
    assert len(proxied.upstream.wires) == 1


async def test_a_rule_that_replaces_a_streamed_answer_delivers_nothing_of_it(start: Start) -> None:
    proxied = await start(Rule("deny", 0, after=(step(deny),)))
    for answer in (ok(b"SECRET" * 10), ok(b"SECRET" * 50_000), CHUNKED.replace(b"abc", b"SEC")):
        proxied.upstream.answer = answer
        wire = await proxied.client()
        for _ in range(2):
            await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.message()).status == 403
        assert b"SEC" not in wire.received


# Expectations


async def test_the_upstreams_100_reaches_a_client_whose_body_no_rule_reads(start: Start) -> None:
    proxied = await start()

    async def answering(wire: Wire, _: int) -> None:
        head = await wire.until(b"\r\n\r\n")
        assert b"Expect: 100-continue\r\n" in head
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await wire.exactly(4) == b"body"
        await wire.send(ok())

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert (await wire.message(interim=True)).status == 100
    await wire.send(b"body")
    assert (await wire.message()).status == 200
    assert wire.received.count(b"100 Continue") == 1


async def test_a_rule_that_reads_the_body_makes_the_proxy_ask_for_it(start: Start) -> None:
    proxied = await start(reads_both())
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert (await wire.message(interim=True)).status == 100
    assert proxied.upstream.wires == []
    await wire.send(b"body")
    assert (await wire.message()).status == 200
    [request] = proxied.upstream.messages
    assert request.get("expect") is None
    assert request.body == b"body"


async def test_a_denied_request_gets_no_100_first(start: Start) -> None:
    proxied = await start(Rule("deny", 0, before=(step(deny),)))
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    answer = await wire.message(interim=True)
    assert (answer.status, answer.get("connection")) == (403, b"close")
    await wire.rest()
    assert proxied.upstream.wires == []


async def test_an_upstream_that_refuses_an_expectation_is_heard(start: Start) -> None:
    proxied = await start()

    async def answering(wire: Wire, _: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(ok(b"no", status="401 Unauthorized"))
        await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    answer = await wire.message(interim=True)
    assert (answer.status, answer.body, answer.get("connection")) == (401, b"no", b"close")


async def test_a_100_that_nobody_asked_for_and_other_interim_answers_are_skipped(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + ok()
    )
    for version in ("1.1", "1.0"):
        wire = await proxied.client()
        await wire.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        assert (await wire.message(interim=True)).status == 200
    assert len(proxied.upstream.wires) == 1


# Early answers


@pytest.mark.parametrize("status", ["403 Forbidden", "200 OK"])
@modes
async def test_an_answer_before_the_upload_is_over_is_relayed_and_both_connections_end(
    status: str, reads: bool, start: Start
) -> None:
    rules = [Rule("reads", 0, after=(step(lambda _: None),), needs_response=True)] if reads else []
    proxied = await start(*rules, bounds=Bounds(discard=1000))

    async def answering(wire: Wire, _: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(ok(b"early", status=status))
        await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", b"x" * 100_000)
    answer = await wire.message()
    assert (answer.status, answer.body, answer.get("connection")) == (int(status[:3]), b"early", b"close")
    await wire.rest()
    await eventually(lambda: proxied.gateway.pool.open == 0)


async def test_an_answer_that_streams_while_the_request_streams_is_complete(start: Start) -> None:
    proxied = await start()

    async def echo(wire: Wire, _: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
        for _ in range(300):
            await wire.send(await wire.exactly(1000))

    proxied.upstream.answering = echo
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")

    async def upload() -> None:
        for n in range(300):
            await wire.send(bytes([n % 256]) * 1000)

    _, answer = await asyncio.gather(upload(), wire.message())
    assert answer.body == b"".join(bytes([n % 256]) * 1000 for n in range(300))


async def test_a_denied_upload_that_is_short_is_swallowed_and_a_long_one_ends_the_connection(start: Start) -> None:
    proxied = await start(Rule("deny", 0, before=(step(deny),)), bounds=Bounds(discard=1000))
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    assert (await wire.message()).get("connection") is None
    await wire.send(b"x" * 1000 + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
    assert (await wire.message()).get("connection") == b"close"
    await wire.rest()


# Limits


async def test_a_body_that_rules_read_is_limited_at_its_head_and_on_its_way(start: Start) -> None:
    proxied = await start(reads_both(), limits=Limits(body=10))
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    for data in (
        head + b"Content-Length: 11\r\n\r\n",
        head + b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
    ):
        wire = await proxied.client()
        await wire.send(data)
        answer = await wire.message(interim=True)
        assert (answer.status, answer.get("connection")) == (413, b"close")
        await wire.rest()
    assert (await proxied.ask(head + b"Content-Length: 10\r\n\r\n0123456789")).status == 200
    assert len(proxied.upstream.messages) == 1


# Clients that leave


@modes
async def test_a_half_closed_client_gets_its_answers(reads: bool, start: Start) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    wire = await proxied.client()
    await wire.send(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    wire.end()
    for _ in range(3):
        assert (await wire.message()).body == b"ok"
    assert await wire.rest() == b""
    assert [m.target for m in proxied.upstream.messages] == [b"/1", b"/2", b"/3"]


async def test_a_half_closed_client_that_reads_slowly_gets_its_answers(start: Start) -> None:
    proxied = await start()
    proxied.upstream.answer = ok(b"x" * (4 << 20))
    wire = await proxied.client()
    await wire.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 4)
    wire.end()
    await eventually(lambda: proxied.upstream.messages)
    for _ in range(4):
        assert len((await wire.message()).body) == 4 << 20
    assert await wire.rest() == b""


cut_short = pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
    ],
)


@cut_short
@modes
async def test_a_request_behind_another_that_ends_too_soon_is_a_400(data: bytes, reads: bool, start: Start) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    wire = await proxied.client()
    await wire.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + data)
    wire.end()
    assert [(await wire.message()).status for _ in range(2)] == [200, 400]
    assert await wire.rest() == b""
    assert [m.target for m in proxied.upstream.messages] == [b"/first"]


@cut_short
@modes
async def test_a_request_that_ends_too_soon_is_a_400_and_never_whole_upstream(
    data: bytes, reads: bool, start: Start
) -> None:
    proxied = await start(*([reads_both()] if reads else []))
    wire = await proxied.client()
    await wire.send(data)
    wire.end()
    assert (await wire.message()).status == 400
    await wire.rest()
    assert proxied.upstream.messages == []


async def test_a_client_that_says_nothing_and_leaves_is_no_exchange(start: Start) -> None:
    proxied = await start()
    wire = await proxied.client()
    await eventually(lambda: proxied.gateway.connections)
    wire.end()
    assert await wire.rest() == b""
    assert proxied.records == []


async def waiting_upstream(proxied: Proxied) -> asyncio.Event:
    gone = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await wire.rest()
        gone.set()

    proxied.upstream.answering = answering
    return gone


async def test_a_client_that_hangs_up_ends_the_upstream_call(start: Start) -> None:
    proxied = await start()
    gone = await waiting_upstream(proxied)
    wire = await proxied.client()
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await proxied.upstream.begun()
    wire.reset()
    await asyncio.wait_for(gone.wait(), 5)
    facts = await proxied.record()
    assert (facts.hung_up, facts.status) == (True, 0)
    assert proxied.gateway.pool.open == 0
    await eventually(lambda: not proxied.gateway.connections)


# Deadlines of clients


async def test_a_slow_head_is_a_408_and_a_silent_client_is_closed(start: Start) -> None:
    proxied = await start(deadlines=Deadlines(header=0.2))
    slow, silent = await proxied.client(), await proxied.client()
    await slow.send(b"GET / HTTP/1.1\r\nHo")
    answer = await slow.message()
    assert (answer.status, answer.get("connection")) == (408, b"close")
    assert await silent.rest() == b""


async def test_a_drip_of_a_head_does_not_move_its_deadline(start: Start) -> None:
    proxied = await start(deadlines=Deadlines(header=0.3))
    wire = await proxied.client()

    async def drip() -> None:
        await wire.send(b"GET / HTTP/1.1\r\nX: ")
        while not wire.writer.is_closing():
            await wire.send(b"a")
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    begun = asyncio.get_running_loop().time()
    assert (await wire.message()).status == 408
    assert asyncio.get_running_loop().time() - begun < 2
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)


@modes
async def test_a_body_that_stops_is_a_408(reads: bool, start: Start) -> None:
    # The upstream waits no longer than the client may; still it is the client who is late.
    proxied = await start(*([reads_both()] if reads else []), deadlines=Deadlines(body=0.2, stall=0.2), stall=0.2)
    wire = await proxied.client()
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    answer = await wire.message()
    assert (answer.status, answer.get("connection")) == (408, b"close")
    assert proxied.upstream.messages == []


@modes
@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_body_that_never_begins_is_a_408(reads: bool, framing: str, start: Start) -> None:
    proxied = await start(*([reads_both()] if reads else []), deadlines=Deadlines(body=0.2, stall=0.2))
    answer = await proxied.ask(f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
    assert (answer.status, answer.get("connection")) == (408, b"close")
    assert proxied.upstream.messages == []


async def test_an_upstream_that_takes_nothing_is_a_504(start: Start) -> None:
    proxied = await start(stall=0.3)

    async def answering(wire: Wire, _: int) -> None:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    sending = asyncio.ensure_future(
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n", b"x" * 50_000_000)
    )
    assert (await wire.message()).status == 504
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_an_idle_connection_is_closed_without_an_answer(start: Start) -> None:
    proxied = await start(deadlines=Deadlines(idle=0.2))
    wire = await proxied.client()
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.message()).status == 200
    assert await wire.rest() == b""
    assert len(proxied.records) == 1


async def test_a_client_that_takes_nothing_is_cut(start: Start) -> None:
    proxied = await start(deadlines=Deadlines(stall=0.3))
    proxied.upstream.answer = ok(b"x" * 30_000_000)
    wire = await Wire.open(proxied.port)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    facts = await proxied.record()
    assert facts.sent < 30_000_000
    assert (facts.error, facts.hung_up) == ("the client did not take its answer in time", False)
    await eventually(lambda: not proxied.gateway.connections)
    wire.writer.transport.abort()


# Versions and keep-alive


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
async def test_a_connection_is_kept_as_its_client_asks(head: bytes, kept: bool, start: Start) -> None:
    proxied = await start()
    wire = await proxied.client()
    await wire.send(head)
    answer = await wire.message()
    assert answer.status == 200
    if kept:
        assert answer.get("connection") == (b"keep-alive" if b"1.0" in head else None)
        await wire.send(head)
        assert (await wire.message()).status == 200
    else:
        assert answer.get("connection") == b"close"
        assert await wire.rest() == b""


async def test_draining_closes_idle_connections_and_every_answer_says_close(start: Start) -> None:
    proxied = await start()
    gate = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            message = await proxied.upstream.take(wire)
            if message.target == b"/busy":
                await asyncio.wait_for(gate.wait(), 5)
            await wire.send(ok())

    proxied.upstream.answering = answering
    idle, busy = await proxied.client(), await proxied.client()
    await idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await idle.message()
    await busy.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: len(proxied.upstream.messages) == 2)
    proxied.gateway.drain()
    assert await idle.rest() == b""
    assert proxied.gateway.busy == 1
    gate.set()
    assert (await busy.message()).get("connection") == b"close"
    assert await busy.rest() == b""
    await eventually(lambda: not proxied.gateway.connections)


async def test_a_long_pipeline_is_read_no_further_than_its_bound_and_answered_whole(start: Start) -> None:
    proxied = await start(bounds=Bounds(pipelined=1_000))
    gate = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            message = await proxied.upstream.take(wire)
            await asyncio.wait_for(gate.wait(), 5)
            await wire.send(ok(message.target))

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(*(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(100)))
    await proxied.upstream.begun()
    [connection] = proxied.gateway.connections
    await eventually(lambda: not connection.transport.is_reading())
    gate.set()
    assert [(await wire.message()).body for _ in range(100)] == [b"/%d" % number for number in range(100)]


async def test_too_many_connections_get_a_503_while_each_has_a_request(start: Start) -> None:
    proxied = await start(bounds=Bounds(connections=1))
    gate = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await gate.wait()
        await proxied.upstream.serve(wire)

    proxied.upstream.answering = answering
    first = await proxied.client()
    await first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: proxied.upstream.messages)
    second = await proxied.client()
    answer = await second.message()
    assert (answer.status, answer.get("retry-after")) == (503, b"1")
    proxied.upstream.answering = None
    gate.set()
