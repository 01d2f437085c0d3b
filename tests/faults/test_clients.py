"""Slow, rude and numerous clients: each is cut at its deadline, and none of the others notices."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from proxy.edge.listener import Listener
from proxy.edge.options import Bounds, Deadlines
from proxy.edge.sockets import open_socket
from proxy.engine.ruleset import Rule, Step
from proxy.observe.log import Log, Sink
from tests.figures import Figures
from tests.gateways import Proxied, Start
from tests.wire import LOOPBACK, PATIENCE, Wire, eventually, ok

from .clients import hold
from .load import Report, Shopper
from .process import Process, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = 2_000
_UNSENT = 0x894B  # SIOCOUTQNSD: how many bytes of a socket's queue are not sent yet
PIECE, PIECES = b"v" * 65_536, 32


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve numbered requests, and a large answer to those who ask for it."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /large"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * PIECES))
                for _ in range(PIECES):
                    writer.write(PIECE)
                    await writer.drain()
                continue
            if head.startswith(b"GET"):
                number = head.split(b" ", 2)[1].rpartition(b"/")[2]
            else:
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                number = (await reader.readexactly(size)).split(b'"')[3]
            body = b'{"user":"%b","token":"t-%b"}' % (number, number)
            kind = b"Content-Type: application/json\r\nSet-Cookie: n=%b\r\n" % number
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (kind, len(body), body))
    except (OSError, RuntimeError, asyncio.IncompleteReadError):
        writer.close()


@asynccontextmanager
async def serving_all(figures: Figures, **deadlines: float) -> AsyncIterator[Process]:
    server = await asyncio.start_server(answer, LOOPBACK, 0, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    async with serving(port, figures, deadlines=deadlines) as process:
        try:
            yield process
        finally:
            server.close()


async def test_two_thousand_slow_clients_are_cut_and_the_good_ones_are_served(figures: Figures) -> None:
    async with serving_all(figures, header=1.5, body=1.5, idle=1.5, stall=1.0, total=3.0, linger=0.5) as process:
        before = process.descriptors()
        resident = process.resident()
        report = Report()
        slow = asyncio.create_task(hold(process.port, SLOW))
        done = asyncio.Event()
        slow.add_done_callback(lambda _: done.set())

        async def shop(name: str) -> None:
            turn = 0
            while not done.is_set() or turn < 100:
                await Shopper(process.port, report, f"{name}-{turn}", 0.0).shop(1)
                turn += 1
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60):
            await asyncio.gather(*(shop(f"good-{number}") for number in range(4)))
        assert len(await slow) == SLOW
        assert report.right == report.asked
        assert report.asked >= 400
        held = process.most_resident() - resident
        assert held < 200 << 20, f"{held >> 20} MiB for {SLOW} slow clients"
        async with asyncio.timeout(PATIENCE):
            while process.descriptors() > before + 4:
                await asyncio.sleep(0.05)
        figures.add("slow-clients", cases=report.asked, found=report.asked - report.right)


SLOWLY = {
    "no request": (b"", None),
    "half a head": (b"GET / HTTP/1.1\r\nHo", 408),
    "half a body": (b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408),
    "half a body that passes through": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408),
    "half a second request": (GET + b"GET /second HTTP/1.1\r\nHo", 408),
    "half a chunk": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 408),
}


@pytest.mark.parametrize("what", SLOWLY)
async def test_a_client_that_stops_is_told_so_and_cut(what: str, start: Start, figures: Figures) -> None:
    read = Rule("read", 0, before=(Step(lambda _: None, "test", "read"),), needs_request=True)
    deadlines = Deadlines(header=0.2, body=0.2, idle=0.2, stall=0.2, total=5.0, linger=0.2)
    proxied = await start(*((read,) if "read" in what else ()), deadlines=deadlines)
    data, status = SLOWLY[what]
    wire = await proxied.client()
    begun = asyncio.get_running_loop().time()
    await wire.send(data)
    if data.startswith(GET):
        assert (await wire.message()).status == 200
    if status is None:
        assert await wire.rest() == b""
    else:
        assert (await wire.message()).status == status
        assert await wire.rest() == b""
    assert asyncio.get_running_loop().time() - begun >= 0.2
    await eventually(lambda: not proxied.gateway.connections)
    await eventually(lambda: proxied.gateway.pool.open == proxied.gateway.pool.idle)
    figures.add("faults", cases=1)


@pytest.mark.parametrize(
    ("stall", "total", "cause"),
    [
        # Some bytes are taken all the time, but too few.
        (0.5, 60.0, "the client did not take its answer in time"),
        # Enough of them are taken, though the socket tells the loop of it in steps of a megabyte; but all is too much.
        (0.4, 1.5, "the exchange took too long"),
    ],
)
async def test_an_answer_that_is_taken_too_slowly_is_cut_and_lets_go_of_the_upstream(
    stall: float, total: float, cause: str, start: Start, figures: Figures
) -> None:
    proxied = await start(connections=1, deadlines=Deadlines(stall=stall, total=total, linger=0.15))
    proxied.upstream.answer = ok(b"x" * 16_000_000)
    crumbs = total > 10
    size = 64 if crumbs else 16_384
    sock = socket.socket()
    # What the client has taken is told in steps of its window.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048 if crumbs else 65_536)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, proxied.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=size)
    writer.write(GET)

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(size):
                await asyncio.sleep(0.01)

    reading = asyncio.create_task(read())
    assert (await proxied.record()).error == cause
    assert not reading.done()
    reading.cancel()
    writer.close()
    # The one connection to the upstream is free again.
    proxied.upstream.answer = ok()
    assert (await proxied.ask(GET)).status == 200
    await eventually(lambda: len(proxied.gateway.connections) <= 1)
    figures.add("faults", cases=1)


async def test_the_kernel_is_given_little_of_an_answer_that_nobody_reads(start: Start, figures: Figures) -> None:
    """Megabytes for each client would be memory that nobody counts, and their copying would hold up the others."""
    proxied = await start()
    proxied.upstream.answer = ok(b"x" * 8_000_000)
    client = socket.create_connection((LOOPBACK, proxied.port))
    client.sendall(GET)
    await eventually(lambda: any(connection.writing for connection in proxied.gateway.connections))
    (connection,) = proxied.gateway.connections
    unsent = fcntl.ioctl(connection.transport.get_extra_info("socket").fileno(), _UNSENT, bytes(4))
    assert 0 < int.from_bytes(unsent, sys.byteorder) < 1 << 19
    client.close()
    await eventually(lambda: not proxied.gateway.connections)
    figures.add("faults", cases=1)


async def test_a_handshake_that_stalls_is_cut_at_the_deadline_of_a_head(start: Start, figures: Figures) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("a").configure_cert(context)
    proxied = await start(deadlines=Deadlines(header=0.3), bounds=Bounds(connections=3))
    sock = open_socket(f"{LOOPBACK}:0")
    listener = Listener(proxied.gateway, sock, tls=context, most=100)
    port = sock.getsockname()[1]
    stalled = [await Wire.open(port) for _ in range(3)]
    await eventually(lambda: len(proxied.gateway.opening) == 3)
    # They count: one more is one too many.
    assert (await proxied.ask(GET)).status == 503
    for wire in stalled:
        await wire.rest()
        await wire.close()
    await eventually(lambda: not proxied.gateway.opening)
    assert (await proxied.ask(GET)).status == 200
    listener.close()
    figures.add("faults", cases=4)


async def test_clients_that_reset_leave_nothing_behind(start: Start, figures: Figures) -> None:
    proxied = await start()
    held = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        await held.wait()

    proxied.upstream.answering = answering
    tasks = len(asyncio.all_tasks())
    wires = [await Wire.open(proxied.port) for _ in range(200)]
    for number, wire in enumerate(wires):
        if number % 2:
            await wire.send(GET)
    await eventually(lambda: len(proxied.upstream.messages) == 100)
    for wire in wires:
        wire.reset()
        wire.writer.close()
    await eventually(lambda: not proxied.gateway.connections and not proxied.gateway.pool.open)
    held.set()
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    proxied.upstream.answering = None
    assert (await proxied.ask(GET)).status == 200
    figures.add("faults", cases=200)


async def test_a_body_that_comes_slowly_holds_no_connection_to_the_upstream(start: Start, figures: Figures) -> None:
    proxied = await start(connections=2)
    slow = [await proxied.client() for _ in range(20)]
    for number, wire in enumerate(slow):
        framing = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc" if number % 2 else b"Content-Length: 6\r\n\r\nabc"
        await wire.send(b"POST /slow HTTP/1.1\r\nHost: a\r\n" + framing)
    await eventually(lambda: sum(not one.idle for one in proxied.gateway.connections) == 20)
    assert (await proxied.ask(GET)).status == 200
    assert [message.target for message in proxied.upstream.messages] == [b"/"]
    for number, wire in enumerate(slow):
        await wire.send(b"\r\n3\r\ndef\r\n0\r\n\r\n" if number % 2 else b"def")
        assert (await wire.message()).status == 200
    assert {message.body for message in proxied.upstream.messages[1:]} == {b"abcdef"}
    figures.add("slow-clients", cases=21)


async def test_a_half_closed_client_gets_all_of_its_answer(start: Start, figures: Figures) -> None:
    proxied = await start()
    proxied.upstream.answer = ok(b"x" * 1_000_000)
    wire = await proxied.client()
    await wire.send(GET)
    wire.end()
    assert (await wire.message()).body == b"x" * 1_000_000
    assert await wire.rest() == b""
    figures.add("faults", cases=1)


async def requests_flow(proxied: Proxied, log: Log, sink: Sink, figures: Figures) -> None:
    proxied.gateway.record = log.exchange
    wire = await proxied.client()
    for _ in range(300):
        await wire.send(GET)
        assert (await wire.message()).status == 200
    await eventually(lambda: sink.dropped)
    figures.add("faults", cases=300)


async def test_a_log_that_nobody_reads_holds_up_no_request(start: Start, figures: Figures) -> None:
    reading, writing = os.pipe()
    sink = Sink(writing, most=100, interval=0.0)
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, bytes(65_536))
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    await requests_flow(await start(), Log(sink), sink, figures)
    os.set_blocking(reading, False)
    emptied = asyncio.get_running_loop().run_in_executor(None, sink.close, PATIENCE)
    while not emptied.done():
        try:
            os.read(reading, 1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0)
    os.close(reading)
    os.close(writing)


async def test_a_disk_that_is_full_holds_up_no_request(start: Start, figures: Figures) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(full, interval=0.0)
    await requests_flow(await start(), Log(sink), sink, figures)
    sink.close()
    os.close(full)
