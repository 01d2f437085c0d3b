"""More clients than there is room for: who waits for nothing makes room for who has something to ask."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.edge.options import Bounds, Deadlines
from tests.figures import Figures
from tests.gateways import Proxied, Start
from tests.wire import LOOPBACK, PATIENCE, Wire, eventually

from .process import Process, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CAP = 192 << 20
IDLE = 5_000
# What the process takes for a connection that waits; the kernel's buffers are not in it.
EACH = 8_192
RESET = struct.pack("ii", 1, 0)


class Crowd:
    """Many connections of one client, without a stream for each."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sockets: list[socket.socket] = []

    async def connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            self.sockets.append(sock)
            await loop.sock_connect(sock, (LOOPBACK, self._port))

    async def ask(self, number: int) -> bytes:
        """Ask on one of them; gives the answer."""
        loop = asyncio.get_running_loop()
        sock = self.sockets[number]
        await loop.sock_sendall(sock, GET)
        got = b""
        async with asyncio.timeout(PATIENCE):
            while not got.endswith(b"\r\n\r\nok") and (part := await loop.sock_recv(sock, 65_536)):
                got += part
        return got

    def ended(self, number: int) -> bool:
        """Say whether the proxy has ended one of them."""
        try:
            return self.sockets[number].recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@asynccontextmanager
async def crowd_before(figures: Figures, **bounds: int) -> AsyncIterator[tuple[Process, Crowd]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with serving(port, figures, bounds=bounds, deadlines={"idle": 600.0}) as process:
        crowd = Crowd(process.port)
        try:
            yield process, crowd
        finally:
            crowd.close()
            server.close()


async def test_five_thousand_idle_connections_cost_little_and_the_oldest_make_room(figures: Figures) -> None:
    async with crowd_before(figures, connections=IDLE) as (process, crowd):
        await crowd.connect(1)
        await crowd.ask(0)
        before = process.resident()
        await crowd.connect(IDLE - 1)
        for number in range(1, IDLE):
            assert (await crowd.ask(number)).startswith(b"HTTP/1.1 200 ")
        held = (process.resident() - before) // IDLE
        assert held < EACH, f"{held} bytes each"
        # The first asks again, so that it is not the oldest any more.
        assert (await crowd.ask(0)).startswith(b"HTTP/1.1 200 ")
        more = 200
        await crowd.connect(more)
        served = [(await crowd.ask(IDLE + number)).startswith(b"HTTP/1.1 200 ") for number in range(more)]
        figures.add("slow-clients", cases=len(served), found=served.count(False))
        assert all(served)
        ended = [number for number in range(IDLE + more) if crowd.ended(number)]
        assert ended == list(range(1, more + 1))


async def test_a_thousand_long_pipelines_are_held_within_the_cap_and_answered_in_order(figures: Figures) -> None:
    count, deep, read = 1_000, 64, 200
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await go.wait()
                target = head.split(b" ", 2)[1]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    bounds = {"memory": CAP, "pipelined": 4_096}
    async with serving(port, figures, bounds=bounds, upstream={"pending": count}) as process:
        wires = [await Wire.open(process.port) for _ in range(count)]
        for number, wire in enumerate(wires):
            await wire.send(
                b"".join(b"GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n" % (number, turn) for turn in range(deep))
            )
        for wire in wires[read:]:
            wire.reset()
            wire.writer.close()
        go.set()
        wrong = 0
        for number, wire in enumerate(wires[:read]):
            for turn in range(deep):
                wrong += (await wire.message()).body != b"/%d/%d" % (number, turn)
            await wire.close()
        figures.add("wrong-answers", cases=read * deep, found=wrong)
        assert wrong == 0
        assert process.most_resident() < CAP
    server.close()


async def fill(proxied: Proxied, count: int) -> list[Wire]:
    """Open connections that have had an answer and wait, one after the other."""
    wires = []
    for _ in range(count):
        wires.append(await proxied.client())
        await wires[-1].send(GET)
        assert (await wires[-1].message()).status == 200
    return wires


@pytest.mark.parametrize("room", ["clients", "descriptors"])
async def test_whoever_comes_is_served_in_place_of_who_has_waited_longest(
    room: str, start: Start, figures: Figures
) -> None:
    deadlines = Deadlines(idle=60.0)
    if room == "clients":
        proxied = await start(deadlines=deadlines, bounds=Bounds(connections=6))
    else:
        proxied = await start(deadlines=deadlines, most=6)
    busy, first, second, third, *_ = await fill(proxied, 6)
    held = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            message = await proxied.upstream.take(wire)
            if message.target == b"/held":
                await held.wait()
            await wire.send(OK)

    proxied.upstream.answering = answering
    proxied.gateway.pool.abort()
    proxied.gateway.pool.closed = False
    await busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    # Who asks once more has not waited longest; nor does who is being served make room.
    await second.send(GET)
    assert (await second.message()).status == 200
    await fill(proxied, 2)
    assert await first.rest() == b""
    assert await third.rest() == b""
    await second.send(GET)
    assert (await second.message()).status == 200
    held.set()
    assert (await busy.message()).status == 200
    assert len(proxied.gateway.connections) <= 6
    figures.add("slow-clients", cases=10)


async def test_with_no_room_clients_wait_and_are_served_later(start: Start, figures: Figures) -> None:
    proxied = await start(most=4)
    held = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            await proxied.upstream.take(wire)
            await held.wait()
            await wire.send(OK)

    proxied.upstream.answering = answering
    wires = [await proxied.client() for _ in range(24)]
    for wire in wires:
        await wire.send(GET)
    await eventually(lambda: len(proxied.upstream.messages) == 4)
    # Whoever is too many waits in the queue, which costs the loop no more than a look now and then.
    looks = 0
    taken = proxied.listener._pause

    def pause(seconds: float) -> None:
        nonlocal looks
        looks += 1
        taken(seconds)

    proxied.listener._pause = pause  # type: ignore[method-assign]
    await eventually(lambda: looks == 3)
    assert len(proxied.gateway.connections) == len(proxied.upstream.messages) == 4
    held.set()
    assert [(await wire.message()).status for wire in wires] == [200] * 24
    figures.add("faults", cases=24)


async def test_who_resets_before_being_accepted_leaves_nothing_behind(start: Start, figures: Figures) -> None:
    proxied = await start(idle=1.0)
    assert (await proxied.ask(GET)).status == 200
    for wire in proxied.clients:
        await wire.close()
    await eventually(lambda: not proxied.gateway.connections)
    descriptors = len(os.listdir("/proc/self/fd"))
    tasks = len(asyncio.all_tasks())
    flood = 1_000
    for _ in range(3):
        # Nothing of the loop runs meanwhile: they are gone before it comes to them.
        for number in range(flood):
            with socket.create_connection((LOOPBACK, proxied.port)) as sock:
                if number % 2:
                    sock.sendall(GET)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        assert (await proxied.ask(GET)).status == 200
        await proxied.clients[-1].close()
    await eventually(lambda: not proxied.gateway.connections and not proxied.gateway.opening)
    # Connections to the upstream that were made for those who were gone are closed after a while, used or not.
    await eventually(lambda: not proxied.gateway.pool.open and not proxied.upstream.open)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    figures.add("faults", cases=3 * flood)
