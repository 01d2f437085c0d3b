"""Many exchanges and large bodies: each its own answer, memory flat.

`VESTIBULE_TEST_BODY_MB=1024` makes the large bodies a gigabyte; without it they are large enough to show a leak.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.wire import LOOPBACK, PATIENCE, Wire

MEGABYTES = int(os.environ.get("VESTIBULE_TEST_BODY_MB", "256"))
LOGINS = 10_000
CLIENTS = 64
PART = b"v" * 65_536


async def answer_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve a login, a large download and a large upload."""
    wire = Wire(reader, writer)
    try:
        while True:
            wire.received = b""
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MEGABYTES << 20))
                for _ in range(MEGABYTES << 4):
                    writer.write(PART)
                    await writer.drain()
                continue
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            if head.startswith(b"PUT"):
                left = size
                while left:
                    left -= len(await reader.read(min(left, 1 << 20)))
                body = b"%d" % size
            else:
                user = msgspec.json.decode(await reader.readexactly(size))["user"]
                body = msgspec.json.encode({"user": user, "token": f"token-of-{user}"})
            kind = b"Content-Type: application/json\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (kind, len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Running:
    """The proxy's process and the port it listens on."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.pid = process.pid
        self.port = port

    def memory(self) -> tuple[int, int]:
        """Return the resident memory now and at its highest, in KB."""
        with open(f"/proc/{self.pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["VmRSS"].split()[0]), int(lines["VmHWM"].split()[0])


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    if not os.path.exists("/proc/self/status"):
        pytest.skip("resident memory is read from /proc, which is not here")
    server = await asyncio.start_server(answer_upstream, LOOPBACK, 0, limit=1 << 20)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("load_process.py")),
        str(server.sockets[0].getsockname()[1]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield Running(process, int(await asyncio.wait_for(process.stdout.readline(), PATIENCE)))
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    server.close()


async def download(port: int) -> int:
    wire = await Wire.open(port)
    await wire.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
    await wire.reader.readuntil(b"\r\n\r\n")
    size = 0
    while size < MEGABYTES << 20:
        part = await wire.reader.read(1 << 20)
        assert part
        assert part.count(b"v") == len(part)
        size += len(part)
    await wire.close()
    return size


async def upload(port: int) -> int:
    wire = await Wire.open(port)
    await wire.send(b"PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MEGABYTES << 20))
    for _ in range(MEGABYTES << 4):
        await wire.send(PART)
    answer = await wire.message()
    await wire.close()
    return int(answer.body)


async def test_large_bodies_pass_in_flat_memory(running: Running) -> None:
    wire = await Wire.open(running.port)
    await wire.send(
        b'POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"user":"u"}'
    )
    assert (await wire.message()).get("authorization") == b"Bearer token-of-u"
    before, _ = running.memory()
    assert await download(running.port) == MEGABYTES << 20
    assert await upload(running.port) == MEGABYTES << 20
    _, highest = running.memory()
    assert highest - before < 24 * 1024, f"{before} KB before, {highest} KB at most"
    await wire.close()


async def test_ten_thousand_logins_on_64_connections_each_get_their_own_answer(running: Running) -> None:
    right = 0

    async def shopper(number: int) -> None:
        nonlocal right
        wire = await Wire.open(running.port)
        for turn in range(LOGINS // CLIENTS + (number < LOGINS % CLIENTS)):
            user = f"user-{number}-{turn}"
            body = b'{"user":"%b"}' % user.encode()
            wire.received = b""
            await wire.send(
                b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            answer = await wire.message()
            assert answer.status == 200
            assert msgspec.json.decode(answer.body)["user"] == user
            assert answer.get("authorization") == f"Bearer token-of-{user}".encode()
            right += 1
        await wire.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(shopper(number) for number in range(CLIENTS)))
    assert right == LOGINS
